package dashboards_test

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// recipe is what the Dockerfile says.
type recipe struct {
	// sources are copied from the repository, build is the line that runs go.
	sources            []string
	build              string
	environment        map[string]string
	user, healthcheck  string
	entrypoint, copied string
}

// dockerfile is what the tests look at.
func dockerfile(t *testing.T) recipe {
	t.Helper()
	return parseDockerfile(string(read(t, "Dockerfile")))
}

func parseDockerfile(text string) recipe {
	r := recipe{environment: map[string]string{}}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch words := strings.Fields(rest); {
		case instruction == "COPY" && !strings.HasPrefix(rest, "--from"):
			r.sources = append(r.sources, words[:len(words)-1]...)
		case instruction == "COPY":
			r.copied += rest + "\n"
		case instruction == "RUN" && strings.Contains(rest, "go build"):
			r.build = regexp.MustCompile(`--mount=\S+`).ReplaceAllString(rest, "")
		case instruction == "ENV":
			for _, pair := range words {
				name, value, _ := strings.Cut(pair, "=")
				r.environment[name] = value
			}
		case instruction == "USER":
			r.user = rest
		case instruction == "HEALTHCHECK":
			r.healthcheck = rest
		case instruction == "ENTRYPOINT":
			r.entrypoint = rest
		}
	}
	return r
}

const (
	testVersion = "v1.2.3"
	testCommit  = "0123456789abcdef0123456789abcdef01234567"
)

// image is the program as the Dockerfile builds it, from what .dockerignore lets
// through; TestMain removes it.
var image = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "spillway-image-")
	if err != nil {
		return "", err
	}
	file, err := os.ReadFile("Dockerfile")
	if err != nil {
		return "", err
	}
	r := parseDockerfile(string(file))
	if err := copySources(folder, r.sources); err != nil {
		return "", err
	}
	binary := filepath.Join(folder, "out")
	build := exec.Command("sh", "-ec", strings.ReplaceAll(r.build, "/out/spillway", binary))
	build.Dir = folder
	build.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION="+testVersion, "COMMIT="+testCommit)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", r.build, err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := image(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// spillway is the image's program.
func spillway(t *testing.T) string {
	t.Helper()
	binary, err := image()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// command has the variables and no others.
func command(t *testing.T, environment map[string]string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// copySources copies what the Dockerfile copies, as far as .dockerignore lets it.
func copySources(folder string, sources []string) error {
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		return err
	}
	var patterns []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	for _, source := range sources {
		err := filepath.WalkDir(filepath.Join("..", source), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			relative := strings.TrimPrefix(filepath.ToSlash(name), "../")
			if ignored(patterns, relative) {
				return nil
			}
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			target := filepath.Join(folder, relative)
			return errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, content, 0o644))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ignored follows the patterns of .dockerignore, of which the last that fits
// counts: of a file or a folder at the top, or with **/ anywhere.
func ignored(patterns []string, file string) bool {
	result := false
	for _, pattern := range patterns {
		wanted, again := strings.CutPrefix(pattern, "!")
		if fits(wanted, file) {
			result = !again
		}
	}
	return result
}

func fits(pattern, file string) bool {
	anywhere, deep := strings.CutPrefix(pattern, "**/")
	for part := file; part != "."; part = path.Dir(part) {
		name := part
		if deep {
			name = path.Base(part)
		}
		if matched, _ := path.Match(anywhere, name); matched {
			return true
		}
	}
	return false
}

// TestDockerfile builds as `make build` does, from files that are there, and
// leaves a program that needs nothing of a system beside it.
func TestDockerfile(t *testing.T) {
	r := dockerfile(t)
	for _, source := range r.sources {
		exists(t, "../"+source, "COPY")
	}
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "-n", "build", "GO=go", "VERSION=$$VERSION", "COMMIT=$$COMMIT").Output()
	if err != nil {
		t.Fatal(err)
	}
	if made, built := buildFlags(string(out)), buildFlags(r.build); made == "" || built != made {
		t.Errorf("the Dockerfile builds with\n%s\nmake build with\n%s", built, made)
	}
	if !strings.Contains(r.build, "CGO_ENABLED=0 ") {
		t.Error("the Dockerfile builds with C")
	}

	file, err := elf.Open(spillway(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has %s", segment.Type)
		}
	}
	out, err = command(t, nil, spillway(t), "version").Output()
	if err != nil || !strings.Contains(string(out), testVersion+", commit "+testCommit) {
		t.Errorf("it says %q, %v", out, err)
	}
}

// buildFlags is what follows go build, wherever its result goes.
func buildFlags(line string) string {
	_, flags, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, `"`, "'")), "go build ")
	return regexp.MustCompile(` -o \S+`).ReplaceAllString(flags, "")
}

package main

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"spillway/cmd/spillway/config"
)

// ranges gives the range tags of a section by key.
func ranges(section reflect.Type, path string, into map[string]string) {
	for i := range section.NumField() {
		f := section.Field(i)
		key := strings.TrimPrefix(path+"."+f.Tag.Get("yaml"), ".")
		if f.Type.Kind() == reflect.Struct {
			ranges(f.Type, key, into)
		} else if tag := f.Tag.Get("range"); tag != "" {
			into[key] = tag
		}
	}
}

// TestPartsTakeWhatConfigAllows: a mistake is named with its key and its line or
// not at all, so no part may refuse a value that the config let through.
func TestPartsTakeWhatConfigAllows(t *testing.T) {
	tags := map[string]string{}
	ranges(reflect.TypeFor[config.Config](), "", tags)
	if len(tags) < 15 {
		t.Fatalf("only %d ranges", len(tags))
	}
	tried := 0
	for key, tag := range tags {
		low, high, _ := strings.Cut(tag, "..")
		for _, text := range []string{low, high} {
			options := checkOptions(filepath.Join(t.TempDir(), "data"))
			options.Flags = map[string]string{key: text}
			c, err := config.Load(options)
			if err != nil {
				continue // refused for its relation to another setting
			}
			tried++
			stream := streamConfig(c)
			for part, err := range map[string]error{
				"wal": logConfig(c).Validate(), "store": storeConfig(c).Validate(), "stream": stream.Validate(), "ingest": ingestConfig(c).Validate(),
			} {
				if err != nil {
					t.Errorf("%s: %s: %s refuses it: %v", key, text, part, err)
				}
			}
		}
	}
	if tried < 2*len(tags)-3 {
		t.Errorf("only %d of %d bounds tried", tried, 2*len(tags))
	}
}

package localredis

import (
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// TestSentinelFailsOver kills the primary, and brings it back when another is.
func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	opts := Options{Dir: t.TempDir(), AppendOnly: true, Username: "spillway", Password: "secret"}
	g, err := StartSentinel(ctx, 1, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, g)
	client := goredis.NewFailoverClient(&goredis.FailoverOptions{
		MasterName: g.Master(), SentinelAddrs: g.Addrs(), Username: opts.Username, Password: opts.Password,
	})
	defer client.Close()
	if err := client.Set(ctx, "key", "before", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Wait(ctx, 1, time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	old, err := g.CurrentMaster(ctx)
	if err != nil || old != g.Servers[0] {
		t.Fatalf("the primary is %v, %v", old, err)
	}
	old.Kill()
	next, err := g.NextMaster(ctx, old)
	if err != nil || next != g.Servers[1] {
		t.Fatalf("the next primary is %v, %v", next, err)
	}
	if got := get(t, next, "key"); got != "before" {
		t.Errorf("key is %q after a failover", got)
	}
	if err := old.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if now, err := g.CurrentMaster(ctx); err != nil || now != next {
		t.Errorf("with the old primary back, the primary is %v, %v", now, err)
	}
	if old.dir != filepath.Join(opts.Dir, "server-0") {
		t.Errorf("the folder is %s", old.dir)
	}
}

// stop stops a group.
func stop(t *testing.T, group interface{ Stop() error }) {
	if err := group.Stop(); err != nil {
		t.Error(err)
	}
}

func TestGroupOptions(t *testing.T) {
	t.Parallel()
	for _, opts := range []Options{{CertFile: "cert.pem", KeyFile: "key.pem"}, {ReplicaOf: "127.0.0.1:1"}} {
		if _, err := StartSentinel(t.Context(), 1, opts); err != errGroupOptions {
			t.Errorf("Sentinel with %+v: %v", opts, err)
		}
		if _, err := StartCluster(t.Context(), opts); err != errGroupOptions {
			t.Errorf("Cluster with %+v: %v", opts, err)
		}
	}
}

// TestGroupsCleanUp lets the second server of each fail to start.
func TestGroupsCleanUp(t *testing.T) {
	t.Parallel()
	bad := Options{Extra: []string{"no-such-setting 1"}}
	if _, err := StartSentinel(testContext(t), 1, bad); err == nil {
		t.Error("Sentinel started with a setting there is not")
	}
	if _, err := StartCluster(testContext(t), bad); err == nil {
		t.Error("a Cluster started with a setting there is not")
	}
}

func TestMajority(t *testing.T) {
	t.Parallel()
	servers := []*Server{{port: &reservation{port: 1}}, {port: &reservation{port: 2}}}
	const one, two = "127.0.0.1:1", "127.0.0.1:2"
	for _, test := range []struct {
		votes []string
		want  *Server
	}{
		{[]string{one, one, two}, servers[0]},
		{[]string{"", two, two}, servers[1]},
		{[]string{one, two, ""}, nil},
		{[]string{one, two}, nil},
		{[]string{"", "", one}, nil},
		{nil, nil},
	} {
		got, err := majority(servers, test.votes)
		if got != test.want || (err == nil) != (test.want != nil) {
			t.Errorf("%q: %v, %v", test.votes, got, err)
		}
	}
}

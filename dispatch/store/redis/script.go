package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

//go:embed apply.lua
var applyText string

//go:embed cas.lua
var casText string

//go:embed head.lua
var headText string

//go:embed forget.lua
var forgetText string

//go:embed deliver_members.lua
var deliverMembersText string

//go:embed deliver_acquire.lua
var deliverAcquireText string

//go:embed deliver_renew.lua
var deliverRenewText string

//go:embed deliver_release.lua
var deliverReleaseText string

//go:embed deliver_settle.lua
var deliverSettleText string

//go:embed deliver_retry.lua
var deliverRetryText string

//go:embed deliver_waiting.lua
var deliverWaitingText string

//go:embed deliver_drop.lua
var deliverDropText string

//go:embed deliver_forget.lua
var deliverForgetText string

// script is a Lua script, which a server knows by its hash once it has run it.
type script struct{ text, hash string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text: text, hash: hex.EncodeToString(sum[:])}
}

var (
	applyScript  = newScript(applyText)
	casScript    = newScript(casText)
	headScript   = newScript(headText)
	forgetScript = newScript(forgetText)

	deliverMembersScript = newScript(deliverMembersText)
	deliverAcquireScript = newScript(deliverAcquireText)
	deliverRenewScript   = newScript(deliverRenewText)
	deliverReleaseScript = newScript(deliverReleaseText)
	deliverSettleScript  = newScript(deliverSettleText)
	deliverRetryScript   = newScript(deliverRetryText)
	deliverWaitingScript = newScript(deliverWaitingText)
	deliverDropScript    = newScript(deliverDropText)
	deliverForgetScript  = newScript(deliverForgetText)
)

// invocation is one run of a script.
type invocation struct {
	script *script
	args   []any // EVALSHA, the hash, the number of keys, keys, arguments
}

// newInvocation makes room for so many keys and arguments.
func newInvocation(s *script, keys, args int) *invocation {
	c := &invocation{script: s, args: make([]any, 3, 3+keys+args)}
	c.args[0], c.args[1], c.args[2] = "evalsha", &s.hash, keys
	return c
}

func (c *invocation) add(args ...any) { c.args = append(c.args, args...) }

// key is its first key.
func (c *invocation) key() string { return *c.args[3].(*string) }

// byText is the same, for a server that does not know the script.
func (c *invocation) byText(ctx context.Context) *goredis.Cmd {
	args := append([]any{"eval", &c.script.text}, c.args[2:]...)
	return goredis.NewCmd(ctx, args...)
}

// run runs a script, and sends its text where the server does not know it: it
// was restarted, failed over, or told to forget.
func (s *Store) run(ctx context.Context, c *invocation) (any, error) {
	cmd := goredis.NewCmd(ctx, c.args...)
	err := s.client.Process(ctx, cmd)
	if isUnknownScript(err) {
		s.metrics.reloads.Inc()
		cmd = c.byText(ctx)
		err = s.client.Process(ctx, cmd)
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// runAll runs scripts in one pipeline, each for itself. Errors are by invocation.
func (s *Store) runAll(ctx context.Context, calls []*invocation) ([]any, []error) {
	replies, errs := make([]any, len(calls)), make([]error, len(calls))
	todo := make([]int, len(calls))
	for i := range calls {
		todo[i] = i
	}
	for byText := false; len(todo) > 0; byText = true {
		cmds, all := make([]*goredis.Cmd, len(todo)), make([]keyed, len(todo))
		for n, i := range todo {
			if byText {
				cmds[n] = calls[i].byText(ctx)
			} else {
				cmds[n] = goredis.NewCmd(ctx, calls[i].args...)
			}
			all[n] = keyed{calls[i].key(), cmds[n]}
		}
		s.process(ctx, all)
		var unknown []int
		for n, i := range todo {
			replies[i], errs[i] = cmds[n].Result()
			if !byText && isUnknownScript(errs[i]) {
				unknown = append(unknown, i)
			}
		}
		s.metrics.reloads.Add(float64(len(unknown)))
		todo = unknown
	}
	return replies, errs
}

func isUnknownScript(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOSCRIPT")
}

// errReply: the server answered what no script of ours does.
var errReply = errors.New("malformed reply")

// listOf takes a reply for a list of n at least.
func listOf(reply any, n int) ([]any, error) {
	list, ok := reply.([]any)
	if !ok || len(list) < n {
		return nil, fmt.Errorf("%w: %T", errReply, reply)
	}
	return list, nil
}

func stringOf(v any) (string, error) {
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%w: %T for a string", errReply, v)
	}
	return text, nil
}

func integerOf(v any) (int64, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("%w: %T for a number", errReply, v)
	}
	return n, nil
}

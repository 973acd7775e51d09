package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/spf13/cobra"

	"spillway/bench/campaign"
	"spillway/cmd/spillway/config"
	"spillway/dispatch/stream"
)

// errDidNotHold is the end of a campaign whose verdict is against the receiver.
var errDidNotHold = errors.New("the receiver did not hold")

// campaignOptions are what `bench campaign` was told.
type campaignOptions struct {
	preset     string
	recipients int
	rate       float64
	seed       uint64
	killEvery  time.Duration

	url, appSecret, jwtSecret, data string
	redis                           []string
	dir                             string
	json                            bool
}

func newBenchCampaignCommand() *cobra.Command {
	var o campaignOptions
	cmd := &cobra.Command{
		Use:   "campaign",
		Short: "Play Meta for a campaign, and tell whether the receiver held",
		Long: `Campaign sends what Meta would: for each recipient the statuses of one message, in
and out of order, replies of a third of them, several updates in a body, some
bodies twice, and again later what was not answered 200. It subscribes as well, and
compares what was acked with the events that come: lost, doubled, out of order.
Posts go out at their time, whatever became of those before, and latencies count
from then.

Without --url it starts a receiver of its own in a temporary folder. With --url it
runs against any receiver, and leaves there the messages and contacts of made-up
customers. Secrets that are not given are those of SPILLWAY_APP_SECRET and
SPILLWAY_JWT_SECRET, or of DATA/dev.env. With --redis events are read from the
streams in Redis, and a receiver of its own keeps them there, under a prefix that is
removed afterwards; SPILLWAY_REDIS_MASTER, _USERNAME, _PASSWORD, _DB and, with --url,
_PREFIX are heeded, TLS is not spoken.

Presets:
  small     2,000 recipients, 200 messages a second
  100k      100,000 recipients, 1,000 messages a second, up to 100 updates a body
  1000mps   60,000 recipients, 1,000 messages a second, one update a body: 3,300
            webhooks a second, and a tenth of them twice
  burst10x  40,000 recipients, 300 messages a second, but 3,000 for ten seconds

The exit code is 1 where anything was lost, doubled or out of order, where a webhook
was never acked, or where answers were slower than Meta asks for: a median of 250 ms,
and under 1 % above a second.`,
		Example: `  spillway bench campaign --preset 1000mps
  spillway bench campaign --recipients 50000 --rate 500 --kill-every 10s
  spillway bench campaign --preset 100k --json > 100k.json && spillway bench report 100k.json
  spillway bench campaign --url https://hooks.example.com --app-secret "$S" --jwt-secret "$J"`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.preset, "preset", campaign.DefaultPreset, "the `campaign`: "+strings.Join(campaign.Presets(), ", "))
	flags.IntVar(&o.recipients, "recipients", 0, "the `number` of recipients (default: the preset's)")
	flags.Float64Var(&o.rate, "rate", 0, "`messages` sent a second (default: the preset's)")
	flags.Uint64Var(&o.seed, "seed", 1, "the `number` that all is drawn from")
	flags.DurationVar(&o.killEvery, "kill-every", 0, "kill the receiver of its own with -9 each `time`, and start it again")
	flags.StringVar(&o.url, "url", "", "the callback `URL` of a receiver that runs")
	flags.StringVar(&o.appSecret, "app-secret", "", "the app `secret` to sign with")
	flags.StringVar(&o.jwtSecret, "jwt-secret", "", "the `secret` to mint a token for subscribing with")
	flags.StringSliceVar(&o.redis, "redis", nil, "read events from the Redis at these `addresses`")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "the `folder` to make the data folder in: on the disk to be measured")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	addDataFlag(cmd, &o.data)
	return cmd
}

func (o *campaignOptions) run(ctx context.Context, cmd *cobra.Command) error {
	cfg, err := o.config(cmd)
	if err != nil {
		return err
	}
	job := newJob(cmd.ErrOrStderr())
	receiver, closeReceiver, err := o.receiver(ctx, job)
	if err != nil {
		return err
	}
	job.note("seed %d: %d recipients, %v messages a second, against %s", cfg.Seed, cfg.Recipients, cfg.Shape.Rate, o.receiverName())
	// Half of the processors are the receiver's. Fewer of them cost less, too: each
	// that goes to sleep and wakes with every answer takes time for that.
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	result, err := campaign.Run(ctx, cfg, receiver, newCampaignProgress(job).show)
	job.clear()
	closed := closeReceiver()
	if err != nil {
		return fmt.Errorf("bench campaign: %w", errors.Join(err, closed))
	}
	result.Receiver, result.Version = o.receiverName(), currentBuild().Version
	if result.Preset = o.preset; cmd.Flags().Changed("recipients") || cmd.Flags().Changed("rate") {
		result.Preset += ", changed"
	}
	if err := o.print(cmd.OutOrStdout(), result); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.Join(errInterrupted, closed)
	case !result.Verdict.Passed:
		return errors.Join(errDidNotHold, closed)
	}
	return closed
}

func (o *campaignOptions) print(out io.Writer, result *campaign.Result) error {
	if o.json {
		return printJSON(out, result)
	}
	return result.Text(out)
}

// config is the preset's, but for what was given.
func (o *campaignOptions) config(cmd *cobra.Command) (campaign.Config, error) {
	cfg, err := campaign.Preset(o.preset)
	if err != nil {
		return cfg, usageError("--preset: %w", err)
	}
	cfg.Seed, cfg.KillEvery = o.seed, o.killEvery
	if cmd.Flags().Changed("recipients") {
		cfg.Recipients = o.recipients
	}
	if cmd.Flags().Changed("rate") {
		cfg.Shape.Rate = o.rate
	}
	if o.url != "" && o.killEvery != 0 {
		return cfg, usageError("--kill-every is for a receiver of its own, not for that of --url")
	}
	if o.url == "" && o.appSecret+o.jwtSecret != "" {
		return cfg, usageError("--app-secret and --jwt-secret are for the receiver of --url; one of its own has its own")
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usageError("%w", err)
	}
	return cfg, nil
}

// ownReceiver is how a result names a receiver that was started for it.
const ownReceiver = "own"

func (o *campaignOptions) receiverName() string { return cmp.Or(o.url, ownReceiver) }

// receiver finds the one that was named, or starts one; closing it removes what
// it left.
func (o *campaignOptions) receiver(ctx context.Context, stderr io.Writer) (campaign.Receiver, func() error, error) {
	if o.url == "" {
		return o.startReceiver(ctx, stderr)
	}
	u, err := baseURL(o.url, "http", webhookPath)
	if err != nil {
		return campaign.Receiver{}, nil, err
	}
	r := campaign.Receiver{URL: u}
	if r.Secret, err = findSecret("--app-secret", o.appSecret, config.VariableAppSecret, o.data,
		func(d config.DevSecrets) string { return d.AppSecret }); err != nil {
		return r, nil, err
	}
	r.Secret, _, _ = strings.Cut(r.Secret, ",")
	if len(o.redis) > 0 {
		client := benchRedisClient(o.redis)
		r.Subscription = campaign.Streams{Client: client, Prefix: cmp.Or(os.Getenv("SPILLWAY_REDIS_PREFIX"), config.DefaultConfig().Redis.Prefix)}
		return r, client.Close, nil
	}
	secret, err := findSecret("--jwt-secret", o.jwtSecret, config.VariableJWTSecret, o.data,
		func(d config.DevSecrets) string { return d.JWTSecret })
	if err != nil {
		return r, nil, err
	}
	socket, err := socketOf(u, secret)
	r.Subscription = socket
	return r, func() error { return nil }, err
}

// socketOf is the WebSocket beside a callback URL.
func socketOf(callback *url.URL, secret string) (*campaign.WebSocket, error) {
	token, err := mintToken(secret, time.Now(), tailTokenTTL, stream.Claims{})
	if err != nil {
		return nil, err
	}
	return &campaign.WebSocket{URL: callback.Scheme + "://" + callback.Host + "/ws", Token: token}, nil
}

func benchRedisClient(addresses []string) goredis.UniversalClient {
	goredis.SetLogger(&logging.VoidLogger{})
	options := redisVariables(config.DefaultConfig())
	const pool = 1024 // each partition is read over a connection of its own
	return goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: addresses, MasterName: options.Master, Username: options.Username, Password: options.Password, DB: options.DB,
		PoolSize: pool, ReadTimeout: 10 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// redisVariables sets what --redis leaves to variables.
func redisVariables(cfg config.Config) config.Redis {
	r := cfg.Redis
	r.Master, r.Username, r.Password = os.Getenv("SPILLWAY_REDIS_MASTER"), os.Getenv("SPILLWAY_REDIS_USERNAME"), os.Getenv("SPILLWAY_REDIS_PASSWORD")
	r.DB, _ = strconv.Atoi(os.Getenv("SPILLWAY_REDIS_DB"))
	return r
}

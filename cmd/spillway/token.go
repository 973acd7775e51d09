package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/stream"
)

// tokenOptions are what `token` was told.
type tokenOptions struct {
	configFile, data                string
	ttl                             time.Duration
	events, phoneNumberIDs, wabaIDs []string
}

func newTokenCommand() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mint a token for the WebSocket",
		Long: `Token prints a JWT, signed with HS256, that opens the WebSocket until it expires.
Each list narrows what a socket with it may see; without lists it sees all.

The secret is that of --config, else SPILLWAY_JWT_SECRET, else of DATA/dev.env.`,
		Example: `  spillway token --ttl 1h
  spillway token --events message:new,message:status --phone-number-ids 106540352242922
  websocat "ws://127.0.0.1:8080/ws?token=$(spillway token)"`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := o.mint(time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&o.ttl, "ttl", 24*time.Hour, "how long the token is good for")
	flags.StringSliceVar(&o.events, "events", nil, "event `types` it may see, such as message:new or webhook:*")
	flags.StringSliceVar(&o.phoneNumberIDs, "phone-number-ids", nil, "phone number `ids` it may see")
	flags.StringSliceVar(&o.wabaIDs, "waba-ids", nil, "business account `ids` it may see")
	flags.StringVar(&o.configFile, "config", "", "the config `file` of serve, to take the secret from")
	addDataFlag(cmd, &o.data)
	return cmd
}

func (o *tokenOptions) mint(now time.Time) (string, error) {
	if o.ttl <= 0 {
		return "", usageError("--ttl %s is not allowed; allowed: more than 0", o.ttl)
	}
	if err := o.checkLists(); err != nil {
		return "", err
	}
	secret, err := o.secret()
	if err != nil {
		return "", err
	}
	return mintToken(secret, now, o.ttl, stream.Claims{
		Events: o.events, PhoneNumberIDs: o.phoneNumberIDs, WABAIDs: o.wabaIDs,
	})
}

// checkLists refuses a list that was given and is empty, most likely of a
// variable that is not set: who narrows a token must not get one that sees all.
func (o *tokenOptions) checkLists() error {
	for _, list := range []struct {
		flag  string
		items []string
	}{{"--events", o.events}, {"--phone-number-ids", o.phoneNumberIDs}, {"--waba-ids", o.wabaIDs}} {
		if list.items != nil && (len(list.items) == 0 || slices.Contains(list.items, "")) {
			return usageError("%s has an empty item; name what the token may see, or leave the flag out for all", list.flag)
		}
	}
	return checkTypes(o.events)
}

func checkTypes(patterns []string) error {
	if err := stream.CheckTypes(patterns); err != nil {
		return usageError("--events %w", err)
	}
	return nil
}

// secret finds what serve verifies tokens with.
func (o *tokenOptions) secret() (string, error) {
	if o.configFile != "" {
		c, err := config.Load(config.Options{File: o.configFile, Environ: os.Environ()})
		if err != nil {
			return "", err
		}
		if c.Stream.JWTSecret == "" {
			return "", usageError("%s sets stream.jwt_public_key: mint tokens with the private key that belongs to it", o.configFile)
		}
		return c.Stream.JWTSecret, nil
	}
	return findSecret("", "", config.VariableJWTSecret, o.data, func(d config.DevSecrets) string { return d.JWTSecret })
}

// mintToken adds the times to the claims and signs them.
func mintToken(secret string, now time.Time, ttl time.Duration, claims stream.Claims) (string, error) {
	claims.ID = uuid.NewString() // or two of one second would count as one
	claims.IssuedAt = jwt.NewNumericDate(now)
	claims.ExpiresAt = jwt.NewNumericDate(now.Add(ttl))
	token, err := stream.Mint(secret, claims)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return token, nil
}

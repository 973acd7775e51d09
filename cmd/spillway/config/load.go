package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options are what Load reads from.
type Options struct {
	// File is the path of the YAML file; empty for none.
	File string
	// Environ are the variables, NAME=value each, as os.Environ gives them. An
	// empty variable counts as not set, except within ${NAME}.
	Environ []string
	// Flags are values by key, as the command line gave them.
	Flags map[string]string
	// Dev fills missing secrets from DATA/dev.env, made on first use, and
	// refuses to listen beyond loopback.
	Dev bool
	// WithoutSecrets is for programs that need none: what is missing of apps,
	// tokens and secrets is no mistake.
	WithoutSecrets bool
}

// The variables that stand for no key of their own: they set the secrets and
// the verify token of the app named default, which is added if it is not in
// the file.
const (
	VariableAppSecret   = "SPILLWAY_APP_SECRET"
	VariableVerifyToken = "SPILLWAY_VERIFY_TOKEN"
	VariableJWTSecret   = "SPILLWAY_JWT_SECRET"

	// DefaultApp is the name of the app that the variables set.
	DefaultApp = "default"
)

// Load finds the config. The error is of type Mistakes, or tells that dev.env
// could not be made; the config then holds what could be read.
func Load(options Options) (Config, error) {
	variables := lookupIn(options.Environ)
	l := &loader{
		config:  DefaultConfig(),
		lookup:  variables,
		file:    options.File,
		origins: map[string]Origin{},
		partial: options.WithoutSecrets,
	}
	l.config.Dev = options.Dev
	if options.File != "" {
		l.readFile()
	}
	l.readVariables(options.Environ)
	l.readFlags(options.Flags)

	if options.Dev {
		l.checkLoopback()
		l.checkData()
		if len(l.mistakes) > 0 {
			l.partial = true
		} else if err := l.fillDevSecrets(); err != nil {
			return l.config, err
		}
	}
	l.validate()
	if len(l.mistakes) > 0 {
		return l.config, l.mistakes.sorted()
	}
	return l.config, nil
}

func lookupIn(environ []string) func(string) (string, bool) {
	variables := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

// readVariables applies the variables.
func (l *loader) readVariables(environ []string) {
	known := []string{VariableAppSecret, VariableVerifyToken}
	for _, f := range fields(&l.config) {
		name := f.variable()
		known = append(known, name)
		if value, _ := l.lookup(name); value != "" {
			l.set(f, value, Origin{Variable: name})
		}
	}
	l.readAppVariables()
	l.checkVariableNames(environ, known)
}

func (l *loader) readAppVariables() {
	if secrets, _ := l.lookup(VariableAppSecret); secrets != "" {
		app, key := l.defaultApp()
		app.AppSecrets = split(secrets)
		l.origins[key+".app_secrets"] = Origin{Variable: VariableAppSecret}
	}
	if token, _ := l.lookup(VariableVerifyToken); token != "" {
		app, key := l.defaultApp()
		app.VerifyToken = token
		l.origins[key+".verify_token"] = Origin{Variable: VariableVerifyToken}
	}
}

// defaultApp finds or adds the app that the variables set.
func (l *loader) defaultApp() (app *App, key string) {
	at := slices.IndexFunc(l.config.Apps, func(a App) bool { return a.Name == DefaultApp })
	if at < 0 {
		at = len(l.config.Apps)
		l.config.Apps = append(l.config.Apps, App{Name: DefaultApp})
	}
	return &l.config.Apps[at], fmt.Sprintf("apps[%d]", at)
}

// checkVariableNames finds variables that were likely meant as one of ours but
// would be ignored. Others that start with SPILLWAY_ are left alone: container
// platforms set SPILLWAY_PORT and the like by themselves.
func (l *loader) checkVariableNames(environ, known []string) {
	renamed := map[string]string{}
	for _, f := range fields(&l.config) {
		if derived := derivedVariable(f.key); derived != f.variable() {
			renamed[derived] = f.variable()
		}
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "SPILLWAY_") || value == "" || slices.Contains(known, name) {
			continue
		}
		meant := renamed[name]
		for _, candidate := range known {
			if meant == "" && distance(name, candidate) <= 2 {
				meant = candidate
			}
		}
		if meant != "" {
			l.add("", Origin{Variable: name}, "is not a variable of Spillway, did you mean "+meant+"?", "")
		}
	}
}

// readFlags applies the flags.
func (l *loader) readFlags(flags map[string]string) {
	for _, f := range fields(&l.config) {
		if value, ok := flags[f.key]; ok {
			l.set(f, value, Origin{Flag: "--" + f.key})
		}
	}
}

func (l *loader) set(f field, value string, origin Origin) {
	maps.DeleteFunc(l.origins, func(key string, _ Origin) bool { return strings.HasPrefix(key, f.key+"[") })
	l.origins[f.key] = origin
	if problem, allowed := f.set(value); problem != "" {
		l.add(f.key, origin, problem, allowed)
	}
}

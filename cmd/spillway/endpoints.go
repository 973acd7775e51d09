package main

import (
	"net/netip"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/deliver"
	posting "spillway/dispatch/deliver/post"
)

// deliverEndpoints are the endpoints of a config, which is valid.
func deliverEndpoints(cfg config.Config) []deliver.Endpoint {
	endpoints := make([]deliver.Endpoint, 0, len(cfg.Endpoints))
	for _, e := range cfg.Endpoints {
		endpoints = append(endpoints, deliver.Endpoint{
			Name: e.Name, URL: e.URL, Secrets: e.Secrets, Headers: e.Headers, Timeout: e.Timeout, AllowNets: e.AllowNets,
			Events: unlimited(e.Events), PhoneNumberIDs: unlimited(e.PhoneNumberIDs), WABAIDs: unlimited(e.WABAIDs),
			Concurrency: e.Concurrency, Rate: e.Rate.PerSecond(), RetryFor: e.RetryFor,
			Order: deliver.Order(e.Order), MaxWaiting: e.MaxWaiting,
		})
	}
	return endpoints
}

// unlimited is nil for an empty list, which in a config is no limit.
func unlimited(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// deliverConfig is how endpoints are delivered to; dev opens loopback.
func deliverConfig(cfg config.Config) deliver.Config {
	c := deliver.DefaultConfig()
	c.DeadRetain = cfg.Log.DeadRetain
	c.Dial = func(e deliver.Endpoint) (deliver.Sender, error) {
		p := posting.Config{
			URL: e.URL, Secrets: e.Secrets, Headers: e.Headers, Timeout: e.Timeout, Concurrency: e.Concurrency,
			UserAgent: "spillway/" + currentBuild().Version, AllowLoopback: cfg.Dev,
		}
		for _, network := range e.AllowNets {
			prefix, err := netip.ParsePrefix(network)
			if err != nil {
				return nil, err
			}
			p.AllowNets = append(p.AllowNets, prefix)
		}
		return posting.New(p)
	}
	return c
}

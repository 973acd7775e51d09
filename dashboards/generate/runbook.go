package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

const (
	runbookSource = "dashboards/RUNBOOK.md"
	runbookPage   = "dashboards/runbook/runbook.html"
)

// pageHead makes a page that reads at night and on a phone, and needs no network.
const pageHead = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Spillway: runbook</title>
<style>
:root { color-scheme: light dark }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif }
h3:target { outline: 3px solid #f2a900; outline-offset: .3rem }
code, pre { font: .875em/1.4 ui-monospace, monospace; background: #8882 }
code { padding: .1em .2em; overflow-wrap: anywhere }
pre { padding: .7rem; overflow-x: auto }
pre code { padding: 0; background: none }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #8886; padding: .25rem .5rem; text-align: left; vertical-align: top }
</style>
`

// page makes a page of the runbook. A heading's anchor is its text in lower case, as
// GitHub has it: alerts link to it.
func page(markdown []byte) ([]byte, error) {
	convert := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	out := bytes.NewBufferString(pageHead)
	if err := convert.Convert(markdown, out); err != nil {
		return nil, fmt.Errorf("convert the runbook: %w", err)
	}
	return out.Bytes(), nil
}

func writeRunbook(source, file string) error {
	markdown, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("read runbook: %w", err)
	}
	html, err := page(markdown)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make folder of the runbook: %w", err)
	}
	if err := os.WriteFile(file, html, 0o644); err != nil {
		return fmt.Errorf("write runbook: %w", err)
	}
	return nil
}

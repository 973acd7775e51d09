package main

import (
	"io"
	"os"
)

// palette paints on terminals that show colours, and on others does nothing.
type palette struct{ on bool }

// The styles of a terminal, by their SGR numbers.
const (
	styleBold   = "1"
	styleFaint  = "2"
	styleRed    = "31"
	styleGreen  = "32"
	styleYellow = "33"
	styleCyan   = "36"
)

// newPalette decides by where it is written to, and by what the user wishes:
// NO_COLOR that is not empty (no-color.org) and TERM=dumb turn colours off.
func newPalette(terminal bool, getenv func(string) string) palette {
	return palette{on: terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// paletteOf is the palette for a writer of this process.
func paletteOf(w io.Writer) palette { return newPalette(isTerminal(w), os.Getenv) }

// paint puts a text that is clean in a style, "" for the usual one.
func (p palette) paint(style, text string) string {
	if !p.on || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

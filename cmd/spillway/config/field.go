package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// field is one setting that can be written as a single text: a scalar, or a
// list of strings.
type field struct {
	key   string
	value reflect.Value
	tag   reflect.StructTag
}

// fields lists the settings of c in the order of the struct, those within
// lists of sections aside.
func fields(c *Config) []field {
	return fieldsBelow(reflect.ValueOf(c).Elem(), "")
}

func fieldsBelow(section reflect.Value, path string) []field {
	var all []field
	for i := range section.NumField() {
		f := section.Type().Field(i)
		name := f.Tag.Get("yaml")
		key := join(path, name)
		value := section.Field(i)
		switch {
		case name == "-" || isSectionList(f.Type):
		case f.Type.Kind() == reflect.Struct:
			all = append(all, fieldsBelow(value, key)...)
		default:
			all = append(all, field{key: key, value: value, tag: f.Tag})
		}
	}
	return all
}

func isSectionList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// variable is the name of the environment variable that sets the field.
func (f field) variable() string {
	if name := f.tag.Get("env"); name != "" {
		return name
	}
	return derivedVariable(f.key)
}

func derivedVariable(key string) string {
	return "SPILLWAY_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// secret reports whether the value must not be shown.
func (f field) secret() bool { return f.tag.Get("secret") != "" }

// set reads text into the field. Where it cannot be read, or is out of range,
// the field stays as it was and problem is not empty.
func (f field) set(text string) (problem, allowed string) {
	parsed, err := parse(f.value.Type(), text)
	if err == nil && f.within(parsed) {
		f.value.Set(parsed)
		return "", ""
	}
	return f.shown(text) + " is not allowed", f.allowed()
}

// shown is the text as a report may show it.
func (f field) shown(text string) string {
	if f.secret() {
		return "the value"
	}
	return strconv.Quote(text)
}

// parse reads text as a value of the type.
func parse(t reflect.Type, text string) (reflect.Value, error) {
	value := reflect.New(t).Elem()
	var err error
	switch target := value.Addr().Interface().(type) {
	case *string:
		*target = text
	case *bool:
		*target = text == "true"
		if text != "true" && text != "false" {
			err = fmt.Errorf("parse %q: not a boolean", text)
		}
	case *int:
		*target, err = strconv.Atoi(text)
	case *float64:
		*target, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*target, err = time.ParseDuration(text)
	case *Size:
		*target, err = ParseSize(text)
	case *Rate:
		*target, err = ParseRate(text)
	case *[]string:
		*target = split(text)
	default:
		err = fmt.Errorf("parse %q: no reader for %s", text, t)
	}
	return value, err
}

// split reads a comma-separated list.
func split(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// within reports whether a value of the field's type is in the field's range.
func (f field) within(value reflect.Value) bool {
	low, high, ok := f.bounds()
	if !ok {
		return true
	}
	if value.CanFloat() {
		return low.Float() <= value.Float() && value.Float() <= high.Float()
	}
	return low.Int() <= value.Int() && value.Int() <= high.Int()
}

// bounds are the ends of the range tag, both allowed.
func (f field) bounds() (low, high reflect.Value, ok bool) {
	from, to, ok := strings.Cut(f.tag.Get("range"), "..")
	if !ok {
		return low, high, false
	}
	low, errLow := parse(f.value.Type(), from)
	high, errHigh := parse(f.value.Type(), to)
	if errLow != nil || errHigh != nil {
		panic("config: bad range of " + f.key)
	}
	return low, high, true
}

// allowed says in words what the field takes.
func (f field) allowed() string {
	var what string
	switch f.value.Interface().(type) {
	case bool:
		return "true or false"
	case []string:
		return "a list of texts"
	case string:
		return "a text"
	case Rate:
		return "a rate such as 100/s or 50/m, from 1/m to 100000/s, or none for no limit"
	case int:
		what = "a whole number"
	case float64:
		what = "a number such as 0.001"
	case time.Duration:
		what = "a duration such as 90s, 15m or 720h"
	case Size:
		what = "a size such as 65536, 512KiB, 64MiB or 20GiB"
	}
	if from, to, ok := strings.Cut(f.tag.Get("range"), ".."); ok {
		what += ", from " + from + " to " + to
	}
	return what
}

package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"golang.org/x/net/http/httpguts"
)

// loader collects what the steps of Load find.
type loader struct {
	config Config
	lookup func(string) (string, bool)
	file   string
	// origins tells by key where a value was written last.
	origins  map[string]Origin
	mistakes Mistakes
	// partial is true where a source could not be read, or no secrets are wanted:
	// what it may have set is not missing.
	partial bool
}

func (l *loader) add(key string, origin Origin, problem, allowed string) {
	l.mistakes = append(l.mistakes, Mistake{Key: key, Origin: origin, Problem: problem, Allowed: allowed})
}

func (l *loader) at(node ast.Node) Origin {
	return Origin{File: l.file, Line: node.GetToken().Position.Line}
}

// readFile reads the file into the config.
func (l *loader) readFile() {
	text, err := os.ReadFile(l.file)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		l.partial = true
		l.add("", Origin{File: l.file}, fmt.Sprintf("cannot be read: %v", err), "")
		return
	}
	l.readYAML(text)
}

func (l *loader) readYAML(text []byte) {
	// Doubled keys are found by the walk, together with all else.
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.addSyntax(text, err)
		return
	}
	for i, document := range file.Docs {
		switch {
		case document.Body == nil:
		case i > 0:
			l.add("", l.at(document.Body), "a second document", "one YAML document")
		default:
			l.walk(document.Body, reflect.ValueOf(&l.config).Elem(), "", "")
		}
	}
}

func (l *loader) addSyntax(text []byte, err error) {
	l.partial = true
	origin, problem := Origin{File: l.file}, "is not YAML"
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		origin.Line = syntax.GetToken().Position.Line
		problem += ": " + syntax.GetMessage()
	}
	allowed := ""
	if lines := strings.Split(string(text), "\n"); origin.Line > 0 && origin.Line <= len(lines) {
		switch line := lines[origin.Line-1]; {
		case strings.Contains(line, "${"):
			allowed = `within {} and [] write "${NAME}", with the quotes`
		case strings.Contains(line, "*"):
			allowed = `within {} and [] write "message:*" or "*", with the quotes`
		}
	}
	l.add("", origin, problem, allowed)
}

// walk reads a node into a value of the config. A null leaves the default.
func (l *loader) walk(node ast.Node, value reflect.Value, key string, tag reflect.StructTag) {
	if key != "" {
		l.origins[key] = l.at(node)
	}
	switch n := node.(type) {
	case *ast.NullNode:
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		l.add(key, l.at(n), "anchors, aliases and tags are not read", "the value itself")
		return
	}
	switch {
	case value.Kind() == reflect.Struct:
		l.walkSection(node, value, key)
	case isSectionList(value.Type()):
		l.walkSectionList(node, value, key)
	case value.Kind() == reflect.Slice:
		l.walkList(node, value, key, tag)
	case value.Kind() == reflect.Map:
		l.walkHeaders(node, value, key, tag)
	default:
		l.walkScalar(node, field{key: key, value: value, tag: tag})
	}
}

func (l *loader) walkSection(node ast.Node, section reflect.Value, path string) {
	pairs, ok := pairsOf(node)
	if !ok {
		l.add(path, l.at(node), "is not a section", "the keys "+strings.Join(keysOf(section.Type()), ", "))
		return
	}
	first := map[string]int{}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		origin := l.at(pair.Key)
		member, known := memberOf(section, name)
		switch line, doubled := first[name]; {
		case !known:
			l.addUnknown(section.Type(), path, name, origin)
			continue
		case doubled:
			l.add(join(path, name), origin, fmt.Sprintf("stands on line %d already", line), "each key once")
			continue
		}
		first[name] = origin.Line
		l.walk(pair.Value, section.FieldByIndex(member.Index), join(path, name), member.Tag)
	}
}

// pairsOf are the keys of a section with their values; ok is false for what is none.
func pairsOf(node ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// walkHeaders reads names with a text each. A null is an empty one: it is no default.
func (l *loader) walkHeaders(node ast.Node, headers reflect.Value, key string, tag reflect.StructTag) {
	pairs, ok := pairsOf(node)
	if !ok {
		l.add(key, l.at(node), "is not a section", headersAllowed)
		return
	}
	headers.Set(reflect.MakeMap(headers.Type()))
	first := map[string]int{}
	for i, pair := range pairs {
		name, origin := pair.Key.GetToken().Value, l.at(pair.Key)
		if !httpguts.ValidHeaderFieldName(name) { // and may be a secret: it is not shown
			l.add(fmt.Sprintf("%s[%d]", key, i), origin, "has a name that no header may have", headersAllowed)
			continue
		}
		if line, doubled := first[strings.ToLower(name)]; doubled {
			l.add(join(key, name), origin, fmt.Sprintf("stands on line %d already", line), "each header once")
			continue
		}
		first[strings.ToLower(name)] = origin.Line
		value := reflect.New(headers.Type().Elem()).Elem()
		l.walk(pair.Value, value, join(key, name), tag)
		headers.SetMapIndex(reflect.ValueOf(name), value)
	}
}

// addUnknown names the key that was likely meant, here or in another section.
func (l *loader) addUnknown(section reflect.Type, path, name string, origin Origin) {
	keys := keysOf(section)
	problem := "is not a key"
	if meant := nearest(name, keys); meant != "" {
		problem += fmt.Sprintf(", did you mean %s?", join(path, meant))
	} else if meant := elsewhere(name); meant != "" {
		problem += fmt.Sprintf(" here, did you mean %s?", meant)
	}
	l.add(join(path, name), origin, problem, strings.Join(keys, ", "))
}

// elsewhere is the key of the only setting that ends in this name, or "".
func elsewhere(name string) string {
	found := ""
	for _, f := range fields(&Config{}) {
		if strings.HasSuffix(f.key, "."+name) {
			if found != "" {
				return ""
			}
			found = f.key
		}
	}
	return found
}

func (l *loader) walkSectionList(node ast.Node, list reflect.Value, key string) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		l.add(key, l.at(node), "is not a list", "a list, each item with the keys "+strings.Join(keysOf(list.Type().Elem()), ", "))
		return
	}
	list.Set(reflect.MakeSlice(list.Type(), len(sequence.Values), len(sequence.Values)))
	for i, item := range sequence.Values {
		if section, ok := list.Index(i).Addr().Interface().(interface{ setDefaults() }); ok {
			section.setDefaults()
		}
		l.walk(item, list.Index(i), fmt.Sprintf("%s[%d]", key, i), "")
	}
}

func (l *loader) walkList(node ast.Node, list reflect.Value, key string, tag reflect.StructTag) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		l.add(key, l.at(node), "is not a list", "a list such as [one, two]")
		return
	}
	list.Set(reflect.MakeSlice(list.Type(), len(sequence.Values), len(sequence.Values)))
	for i, item := range sequence.Values {
		l.walk(item, list.Index(i), fmt.Sprintf("%s[%d]", key, i), tag)
	}
}

func (l *loader) walkScalar(node ast.Node, f field) {
	text, ok := scalar(node)
	if !ok {
		allowed := f.allowed()
		if node.Type() == ast.MappingType || node.Type() == ast.MappingValueType {
			allowed += ", in quotes where it has a colon" // [127.0.0.1:6379] holds a section
		}
		l.add(f.key, l.at(node), "is not a single value", allowed)
		return
	}
	text, err := expand(text, l.lookup)
	if err != nil {
		l.add(f.key, l.at(node), err.Error(), "${NAME} of a variable that is set, or $$ for a dollar")
		return
	}
	if problem, allowed := f.set(text); problem != "" {
		l.add(f.key, l.at(node), problem, allowed)
	}
}

// scalar gives a scalar as it was written, so that 0123 stays a secret of
// four digits.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.MappingNode:
		if len(n.Values) == 1 && !n.IsFlowStyle {
			return joined(n.Values[0])
		}
	}
	return "", false
}

// joined gives a text such as message:new, which within {} the parser takes for a
// section: it is none without a space behind the colon.
func joined(pair *ast.MappingValueNode) (string, bool) {
	key, colon, value := pair.Key.GetToken(), pair.Start.Position.Offset, pair.Value.GetToken()
	for _, t := range []*token.Token{key, value} {
		if t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType {
			return "", false
		}
	}
	if colon != key.Position.Offset+utf8.RuneCountInString(key.Value) || value.Position.Offset != colon+1 {
		return "", false
	}
	text, ok := scalar(pair.Value)
	return key.Value + ":" + text, ok
}

func keysOf(section reflect.Type) []string {
	var keys []string
	for i := range section.NumField() {
		if name := section.Field(i).Tag.Get("yaml"); name != "-" {
			keys = append(keys, name)
		}
	}
	return keys
}

func memberOf(section reflect.Value, name string) (reflect.StructField, bool) {
	for i := range section.NumField() {
		if f := section.Type().Field(i); f.Tag.Get("yaml") == name && name != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

package response

import (
	"bytes"
	"strconv"
)

// An Object is a JSON object that is written member by member, for responses that
// devices request often. Its text is identical to that of [JSON] for a struct with
// the same members, at a tenth of the cost.
type Object struct{ text []byte }

// NewObject returns an object without members. size is the approximate length of its
// text in bytes.
func NewObject(size int) Object { return Object{text: make([]byte, 0, size)} }

// String adds a string member. The name must not need escaping.
func (o *Object) String(name, value string) {
	o.name(name)
	o.text = appendString(o.text, value)
}

// Int adds a number member. The name must not need escaping.
func (o *Object) Int(name string, value int) {
	o.name(name)
	o.text = strconv.AppendInt(o.text, int64(value), 10)
}

// name writes the name of a member and what separates it from the previous one.
func (o *Object) name(name string) {
	between := byte(',')
	if len(o.text) == 0 {
		between = '{'
	}
	o.text = append(o.text, between, '"')
	o.text = append(o.text, name...)
	o.text = append(o.text, '"', ':')
}

// End ends the object, which must have a member, and returns its text with a newline
// as [JSON] does.
func (o *Object) End() []byte { return append(o.text, '}', '\n') }

// appendString appends a string as [JSON] encodes it. encoding/json encodes a string
// that needs escaping.
func appendString(to []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(to, bytes.TrimSuffix(JSON(value), []byte("\n"))...)
		}
	}
	to = append(to, '"')
	to = append(to, value...)
	return append(to, '"')
}

package response

import (
	"bytes"
	"strconv"
)

// An Object is a JSON object that is written member by member, for the responses
// that busy devices ask for. It has the bytes that [JSON] would have written of a
// struct with these members, at a tenth of the cost.
type Object struct{ text []byte }

// NewObject returns an object without members. size is about how many bytes its
// members will take.
func NewObject(size int) Object { return Object{text: make([]byte, 0, size)} }

// String adds a member whose value is a string. The name needs no escape.
func (o *Object) String(name, value string) {
	o.name(name)
	o.text = appendString(o.text, value)
}

// Int adds a member whose value is a number. The name needs no escape.
func (o *Object) Int(name string, value int) {
	o.name(name)
	o.text = strconv.AppendInt(o.text, int64(value), 10)
}

// name begins a member.
func (o *Object) name(name string) {
	between := byte(',')
	if len(o.text) == 0 {
		between = '{'
	}
	o.text = append(o.text, between, '"')
	o.text = append(o.text, name...)
	o.text = append(o.text, '"', ':')
}

// End ends the object, which has at least one member, and returns its text with
// the line break of [JSON].
func (o *Object) End() []byte { return append(o.text, '}', '\n') }

// appendString appends a string as [JSON] encodes it. A string that needs an
// escape is left to encoding/json.
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

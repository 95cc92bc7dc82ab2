package response

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// JSON encodes a document of strings, numbers, lists and maps, which cannot fail. It
// does not escape the characters that are special in HTML.
func JSON(v any) []byte {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	e.Encode(v)
	return body.Bytes()
}

// Write writes a whole response with its Content-Length; HEAD gets no body.
func Write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

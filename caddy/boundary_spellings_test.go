package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// spellings returns n ways to write /v2/secret that some server may take for
// it, the same ones every time. Some mean something else to everybody.
func spellings(n int) []string {
	before := []string{
		"", "/", "//", "/./", "//host", "///host", "/%2Fhost", `/\host`, "//host:80", "//user@host", "/;x", "/;",
		"/x/..", "/x/%2e%2e", "/x/..;", "/x/.%2e",
		"/%2e", "/x/..%2f", `/x/..%5c`, "/x/%252e%252e", "/index.php", "/x/index.php", "/index.php/", "/open/..",
		"/open/../..", "/open;/..", "/%20/..", "/%00/..",
	}
	first := []string{"v2", "V2", "%762", "v%32", "%56%32", "%2576%32", "v2;x", "v2;a=b", "v2%3Bx", "v2;", "v2.",
		"v2%00", "v2%20"}
	between := []string{"/", "//", "/./", "/%2e/", "%2F", "%2f", "%5C", `\`, "%252F", "/;/", "/;x/", "/x/../",
		"/x/..;/", "/.;/", "/%2e%2e/v2/", "///", `\/`, "%2F/"}
	second := []string{"secret", "SECRET", "Secret", "%73ecret", "s%65cret", "%2573ecret", "secre%74",
		"secret;x", "secret%3Bx"}
	after := []string{
		"", "/", "//", "/.", "/./", "/x/..", ";.css", ";x=.css", "%3F", "%3F.css", "%23", "%23.css", "%00", "%00.css",
		"%0a", "?", "?x=.css", "#", "%2F", "%5C", "/%2e", "/;", "%3f/open/x",
		"/..;/secret", "%253F.css", "/%2e%2e/secret", ";/open/x/..",
	}
	var list []string
	known := map[string]bool{}
	add := func(p, f, m, s, a int) {
		if path := before[p] + "/" + first[f] + between[m] + second[s] + after[a]; !known[path] {
			known[path] = true
			list = append(list, path)
		}
	}
	for i := range before { // each way alone, and then mixed
		add(i, 0, 0, 0, 0)
	}
	for i := range first {
		add(0, i, 0, 0, 0)
	}
	for i := range between {
		add(0, 0, i, 0, 0)
	}
	for i := range second {
		add(0, 0, 0, i, 0)
	}
	for i := range after {
		add(0, 0, 0, 0, i)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	one := func(n int) int { return max(0, dice.IntN(2*n)-n) } // mostly plain
	for len(list) < n {
		add(one(len(before)), one(len(first)), one(len(between)), one(len(second)), one(len(after)))
	}
	return list
}

// targets returns request targets (RFC 9112 §3.2) that are not in origin-form,
// or look as if they were.
func targets(host string) []string {
	var list []string
	for _, scheme := range []string{"a:", "http:", "https:", "HTTP:", "x-y.z+1:", "file:", "a:b:"} {
		for _, rest := range []string{"http://%s/v2/secret", "//%s/v2/secret", "/v2/secret", "v2/secret",
			"//other/v2/secret", "", "?/v2/secret", "*"} {
			if strings.Contains(rest, "%s") {
				rest = fmt.Sprintf(rest, host)
			}
			list = append(list, scheme+rest)
		}
	}
	return append(list, "*", "**", "*/v2/secret", "v2/secret", "?/v2/secret", "#/v2/secret", host, host+":80",
		host+"/v2/secret", ".", "..", "../v2/secret", `\v2\secret`, "%2Fv2/secret", "://"+host+"/v2/secret",
		"http:"+host+"/v2/secret", "@"+host+"/v2/secret")
}

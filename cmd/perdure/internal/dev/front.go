package dev

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
)

// credential is the part of a request's signature that names the access key and the region.
var credential = regexp.MustCompile(`Credential=[^/]*/([0-9]+)/[^/]*/`)

// front is the one endpoint of the services here: the functions' Invoke, and DynamoDB for all else. DynamoDB Local keeps
// the tables of each access key and region apart and checks no signature, so every request is made to look as if the
// functions had sent it; callers may have any credentials and region.
func front(dynamoDB string, functions http.Handler) (http.Handler, error) {
	target, err := url.Parse(dynamoDB)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if sent := r.In.Header.Get("Authorization"); sent != "" {
			r.Out.Header.Set("Authorization", credential.ReplaceAllString(sent, "Credential=local/$1/us-east-1/"))
		}
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/2015-03-31/") {
			functions.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}), nil
}

package inspect

import (
	"embed"
	"io/fs"
	"net/http"
)

// pageFiles has the files of the page.
//
//go:embed page
var pageFiles embed.FS

// page serves the files of the page.
var page http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	files, _ := fs.Sub(pageFiles, "page") // the path is valid
	http.FileServerFS(files).ServeHTTP(w, r)
})

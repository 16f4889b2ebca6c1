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

// Paths returns the paths of the page's files, which have no data.
func Paths() []string {
	paths := []string{"/"}
	entries, _ := fs.ReadDir(pageFiles, "page") // it is there
	for _, entry := range entries {
		paths = append(paths, "/"+entry.Name())
	}
	return paths
}

// page serves the files of the page.
var page http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	files, _ := fs.Sub(pageFiles, "page") // the path is valid
	http.FileServerFS(files).ServeHTTP(w, r)
})

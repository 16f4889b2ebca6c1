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
var page = func() http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the path is valid
	}
	return http.FileServerFS(files)
}()

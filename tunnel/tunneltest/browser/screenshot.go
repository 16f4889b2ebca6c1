package browser

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
)

// Screenshot writes the page as NAME.png into the directory WSTUN_SCREENSHOTS, if that is set.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	dir := os.Getenv("WSTUN_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		picture, err = shrink(picture)
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o750) //nolint:gosec // a directory that the user names
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600) //nolint:gosec // as above
	}
	if err != nil {
		p.t.Error(err)
	}
}

// shrink returns a PNG of at most 256 colours, which has about a third of the bytes.
func shrink(picture []byte) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	small := image.NewPaletted(img.Bounds(), palette(img))
	draw.Draw(small, small.Bounds(), img, img.Bounds().Min, draw.Src)
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small)
	return b.Bytes(), err
}

// palette returns the most frequent colour of each of the most frequent groups of similar
// colours.
func palette(img image.Image) color.Palette {
	type group struct {
		pixels  int
		colours map[color.Color]int
	}
	groups := map[[3]uint32]*group{}
	r := img.Bounds()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := img.At(x, y)
			red, green, blue, _ := c.RGBA()
			key := [3]uint32{red >> 12, green >> 12, blue >> 12}
			if groups[key] == nil {
				groups[key] = &group{colours: map[color.Color]int{}}
			}
			groups[key].pixels++
			groups[key].colours[c]++
		}
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b *group) int { return cmp.Compare(b.pixels, a.pixels) })
	var p color.Palette
	for _, g := range sorted[:min(len(sorted), 200)] {
		p = append(p, mostFrequent(g.colours))
	}
	// The rest is for frequent colours that others of their group hide, such as backgrounds.
	all := map[color.Color]int{}
	for _, g := range groups {
		maps.Copy(all, g.colours)
	}
	for len(p) < 256 && len(all) > 0 {
		c := mostFrequent(all)
		delete(all, c)
		if !slices.Contains(p, c) {
			p = append(p, c)
		}
	}
	return p
}

func mostFrequent(colours map[color.Color]int) (most color.Color) {
	for c, n := range colours {
		if most == nil || n > colours[most] {
			most = c
		}
	}
	return most
}

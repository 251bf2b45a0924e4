package demo

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// svgStyle gives the picture a light and a dark face; the reader's own setting
// decides.
const svgStyle = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#1f2328;white-space:pre}
.panel{fill:#f6f8fa;stroke:#d0d7de}.dim{fill:#59636e}.strong{font-weight:700}.good{fill:#1a7f37}.warn{fill:#7d4e00}.bad{fill:#cf222e;font-weight:700}.accent{fill:#0a6c8e}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.panel{fill:#0d1117;stroke:#30363d}.dim{fill:#9198a1}.good{fill:#3fb950}.warn{fill:#d29922}.bad{fill:#ff7b72}.accent{fill:#56d4dd}}`

// WriteSVG writes a frame as a picture of a terminal of the size. Its text stays
// text.
func (f Frame) WriteSVG(w io.Writer, width, height int) error {
	const cellWidth, cellHeight, margin = 8.43, 19, 16
	classes := [...]string{Plain: "", Dim: "dim", Strong: "strong", Good: "good", Warn: "warn", Bad: "bad", Accent: "accent"}
	pictureWidth, pictureHeight := int(float64(width)*cellWidth)+2*margin, height*cellHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">`+"\n",
		pictureWidth, pictureHeight, pictureWidth, pictureHeight)
	fmt.Fprintf(&b, "<title id=\"title\">redrive demo after %s: %s orders handled, the breaker %s, %s in the dead-letter queue</title>\n",
		clock(f.Elapsed), thousands(f.Handled), f.Breaker, thousands(f.DeadLetters))
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"panel\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", svgStyle, pictureWidth-1, pictureHeight-1)
	for row, line := range f.Render(width, height) {
		column := 0
		for _, span := range line {
			n := utf8.RuneCountInString(span.Text)
			// Blanks need no node, and each piece is put in its column, so that a font
			// of another width does not move what follows.
			text := strings.TrimRight(span.Text, " ")
			lead := utf8.RuneCountInString(text) - utf8.RuneCountInString(strings.TrimLeft(text, " "))
			if text = strings.TrimLeft(text, " "); text != "" {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d"`, margin+float64(column+lead)*cellWidth, margin+row*cellHeight+14)
				if class := classes[span.Tone]; class != "" {
					fmt.Fprintf(&b, ` class="%s"`, class)
				}
				fmt.Fprintf(&b, ` textLength="%.1f" lengthAdjust="spacingAndGlyphs">`, float64(utf8.RuneCountInString(text))*cellWidth)
				if err := xml.EscapeText(&b, []byte(text)); err != nil {
					return err
				}
				b.WriteString("</text>\n")
			}
			column += n
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

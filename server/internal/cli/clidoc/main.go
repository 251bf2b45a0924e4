// Command clidoc writes the reference page of the command line from the commands
// of package cli.
//
//	go generate ./server/internal/cli
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/redrive-dev/redrive/server/internal/cli"
)

func main() {
	out := flag.String("out", "../../../docs/reference/commands.md", "file to write")
	flag.Parse()
	var page bytes.Buffer
	err := cli.WriteReference(&page)
	if err == nil {
		err = os.WriteFile(*out, page.Bytes(), 0o644) //nolint:gosec // Documentation is for everybody.
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "clidoc:", err)
		os.Exit(1) //nolint:forbidigo // This is main.
	}
}

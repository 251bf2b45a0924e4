package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/server/internal/records"
)

// input is what is published.
type input struct {
	// name is the file as a person knows it.
	name   string
	reader *records.Reader
	// identity is what the ids of the records are made of.
	identity string
	// size is the number of bytes, -1 if nobody knows.
	size int64
	// unchanged reports, after the last record, that the file changed while it was
	// read.
	unchanged func() error
	close     func() error
}

// publishID is the id of one record: the same whenever it is published.
func (in *input) publishID(number int) string {
	identity := in.identity
	if in.reader.Format() == records.Raw {
		// The whole file and its first record are two messages.
		identity = "raw:" + identity
	}
	return idempotency.PublishID(idempotency.RecordID(identity, number))
}

// openInput opens the file of a publication and finds out what its records are
// named after. Standard input is kept in a temporary file, unless its records have
// a name already.
func (c *call) openInput(ctx context.Context, p *publication) (*input, error) {
	name, id := p.opt.file, p.opt.id
	if name == "-" && id != "" {
		in := &input{name: "standard input", identity: "id:" + id, size: -1, close: func() error { return nil }}
		return in, in.open(c.Stdin, p, nil)
	}
	var (
		file   *os.File
		remove = func() error { return nil }
		err    error
	)
	if name == "-" {
		name = "standard input"
		file, remove, err = spool(ctx, c.Stdin, p.maxSize)
	} else {
		file, err = os.Open(name) //nolint:gosec // the person names the file
	}
	if err != nil {
		return nil, err
	}
	in := &input{name: name, close: func() error { return errors.Join(file.Close(), remove()) }}
	if err := in.prepare(ctx, file, p); err != nil {
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

// prepare reads the file once for its digest and makes it ready to be read again.
func (in *input) prepare(ctx context.Context, file *os.File, p *publication) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder; name a file", in.name)
	}
	if !info.Mode().IsRegular() && p.opt.id == "" {
		return &Error{Err: fmt.Errorf("%s is no regular file and can be read only once", in.name), Hint: "name its records with --id, or use --file -"}
	}
	in.size = info.Size()
	if id := p.opt.id; id != "" {
		in.identity = "id:" + id
		return in.open(file, p, nil)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, file}); err != nil {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	in.identity = hex.EncodeToString(sum.Sum(nil))
	return in.open(file, p, sha256.New())
}

// open begins to read the records. With a hash, what is read is compared with the
// digest at the end.
func (in *input) open(r io.Reader, p *publication, again hash.Hash) error {
	in.unchanged = func() error { return nil }
	if again != nil {
		r = io.TeeReader(r, again)
		in.unchanged = func() error {
			if hex.EncodeToString(again.Sum(nil)) == in.identity {
				return nil
			}
			return fmt.Errorf("%s changed while it was published, so the ids of its records are not those of the file as it is now", in.name)
		}
	}
	var err error
	in.reader, err = records.NewReader(r, in.name, p.format)
	return err
}

// spool keeps a stream in a temporary file that nobody else can read.
func spool(ctx context.Context, from io.Reader, limit int64) (*os.File, func() error, error) {
	file, err := os.CreateTemp("", "redrive-publish-*")
	if err != nil {
		return nil, nil, fmt.Errorf("keep standard input: %w", err)
	}
	remove := func() error { return os.Remove(file.Name()) }
	n, err := io.Copy(file, contextReader{ctx, io.LimitReader(from, limit+1)})
	if err == nil && n > limit {
		err = &Error{
			Err:  fmt.Errorf("standard input has more than %d bytes; nothing was published", limit),
			Hint: "raise --max-size, write it to a file, or name its records with --id to publish them as they come",
		}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close(), remove())
	}
	return file, remove, nil
}

// contextReader ends with its context, between two reads.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	r   io.Reader
}

// Read implements io.Reader.
func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

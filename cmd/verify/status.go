package verify

import (
	"bytes"
	"context"
	"errors"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/inventory"
)

// maxStatus is how much of an answer about what runs is read.
const maxStatus = 64 << 10

// askStatus asks the gate what runs, for the page, over the connection that there
// is. No answer is no finding: the look has judged the deployment already.
func (v *Verification) askStatus(ctx context.Context, conn fleet.Conn, d *inventory.Deployment) {
	var out bounded
	if conn.Ask(ctx, "status", &out) == nil {
		v.tellStatus(d, out.text.String())
	}
}

// tellStatus takes what a host tells of what runs, if it is that.
func (v *Verification) tellStatus(d *inventory.Deployment, text string) {
	l, err := output.ReadStatus(text)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.statuses[d] = l
}

// bounded is a buffer that takes no more than it should.
type bounded struct{ text bytes.Buffer } // not embedded: it has other ways to be written to

// Write implements [io.Writer].
func (b *bounded) Write(text []byte) (int, error) {
	if b.text.Len()+len(text) > maxStatus {
		return 0, errors.New("the answer is too long")
	}
	return b.text.Write(text)
}

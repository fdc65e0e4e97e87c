package screen

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Terminal is a pseudo terminal whose other side is a [Screen].
type Terminal struct {
	*Screen
	File *os.File // for the program

	master *os.File
	copied chan struct{}
}

// Open returns a terminal of a size.
func Open(columns, lines int) (*Terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, err
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		master.Close()
		return nil, err
	}
	t := &Terminal{Screen: New(columns), File: file, master: master, copied: make(chan struct{})}
	go func() {
		defer close(t.copied)
		io.Copy(t.Screen, master) // ends with an error when nobody has the other side
	}()
	return t, t.size(columns, lines)
}

func (t *Terminal) size(columns, lines int) error {
	return unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(lines)})
}

// Resize gives the terminal another size.
func (t *Terminal) Resize(columns, lines int) error {
	t.Screen.Resize(columns)
	return t.size(columns, lines)
}

// Type types at the keyboard: "\n" ends a line, "\x04" the input, and "\x03"
// interrupts.
func (t *Terminal) Type(text string) error {
	_, err := io.WriteString(t.master, text)
	return err
}

// Sync returns when all that was written before is on the screen.
func (t *Terminal) Sync() {
	t.mu.Lock()
	mark := t.marks
	t.mu.Unlock()
	io.WriteString(t.File, "\x1b[~")
	<-mark
}

// Close ends the terminal, and returns when all that was written is on the
// screen. Programs that have it must have ended.
func (t *Terminal) Close() {
	t.File.Close()
	<-t.copied
	t.master.Close()
}

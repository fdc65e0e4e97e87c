package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A File is what a [Host.Snapshot] remembers of a file, in a form that can be
// compared with ==.
type File struct {
	Owner   string // "UID:GID"
	Mode    string // as [fs.FileMode] prints it, with the type: "-rw-r--r--"
	Content string // SHA-256 of a regular file; where a symbolic link leads; else empty
}

// Snapshot looks at paths on the host and at everything below them. A path
// that does not exist is not in the result: so two equal snapshots mean that
// nothing was made, removed or changed in between. Looking changes nothing
// and needs nothing of the host.
func (h *Host) Snapshot(ctx context.Context, paths ...string) (map[string]File, error) {
	leader, err := h.leader()
	if err != nil {
		return nil, err
	}
	root := fmt.Sprintf("/proc/%d/root", leader)
	files := map[string]File{}
	for _, path := range paths {
		err := filepath.WalkDir(filepath.Join(root, path), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			file, err := look(path, entry)
			if err == nil {
				files[strings.TrimPrefix(path, root)] = file
			} else if errors.Is(err, fs.ErrNotExist) {
				return nil // it went away while we walked
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return files, nil
}

func look(path string, entry fs.DirEntry) (File, error) {
	info, err := entry.Info()
	if err != nil {
		return File{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	file := File{Owner: fmt.Sprintf("%d:%d", stat.Uid, stat.Gid), Mode: info.Mode().String()}
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return File{}, err
		}
		file.Content = fmt.Sprintf("%x", sha256.Sum256(content))
	case info.Mode()&fs.ModeSymlink != 0:
		file.Content, err = os.Readlink(path)
	}
	return file, err
}

package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"provision/cmd/output"
	"provision/inventory"
	"provision/provision/hint"
	"provision/provision/visible"
)

const (
	inventoryName     = "inventory.toml"
	inventoryVariable = "PROVISION_INVENTORY"
)

// inventoryOf returns the path of the inventory that a command is about: the
// argument, else $PROVISION_INVENTORY, else inventory.toml in the working
// directory or in the nearest folder above it that has one, as git finds its
// repository. Which one, if it is not the argument, is told on standard error.
func inventoryOf(c *cli.Context, args []string) (string, error) {
	switch {
	case len(args) > 1:
		return "", notAnInventory(c, args)
	case len(args) == 1 && args[0] != "":
		err := inventoryThere(args[0])
		if err == nil && !exists(args[0]) {
			err = notAnInventory(c, args)
		}
		return args[0], err
	}
	file, from := os.Getenv(inventoryVariable), " ($"+inventoryVariable+")"
	err := error(nil)
	if file != "" {
		if err = inventoryThere(file); err != nil {
			err = fmt.Errorf("$%s: %w", inventoryVariable, err)
		}
	} else {
		from = ""
		file, err = findInventory(line(c, nil, append(before(c, args), "INVENTORY")...))
	}
	if err == nil {
		fmt.Fprintln(c.App.ErrWriter, output.Paint(c.App.ErrWriter, output.Dim, "provision: using "+visible.String(file)+from))
	}
	return file, err
}

// inventoryThere asks whether another file is meant, where there is none of
// that name. Whatever else is wrong with it is found when it is read.
func inventoryThere(file string) error {
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		inside := filepath.Join(file, inventoryName)
		meant := ""
		if _, err := os.Stat(inside); err == nil {
			meant = "; did you mean " + inside + "?"
		}
		return usagef("%s is a folder%s", file, meant)
	case errors.Is(err, fs.ErrNotExist):
		dir, base := filepath.Split(file)
		var names []string
		entries, _ := os.ReadDir(filepath.Dir(file))
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".toml") {
				names = append(names, e.Name())
			}
		}
		if slices.Contains(names, base+".toml") {
			return usagef("%s: there is no such file; did you mean %s.toml?", file, file)
		}
		if meant := inventory.Nearest(base, names); meant != "" {
			return usagef("%s: there is no such file; did you mean %s?", file, dir+meant)
		}
	}
	return nil
}

// findInventory looks for an inventory from the working directory upwards. An
// inventory can name commands to run, so one that nobody has named must not be
// another user's: see [othersMayWrite].
//
// Line is the command with "INVENTORY" where one can be named.
func findInventory(line string) (string, error) {
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return "", err
	}
	file := inventoryName
	for dir := here; ; dir = filepath.Dir(dir) {
		full := filepath.Join(dir, inventoryName)
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() {
			if why := othersMayWrite(full); why != "" {
				return "", hint.Add(usagef("%s is not used, as %s, and an inventory can name commands to run", file, why), "if you trust it: %s", strings.Replace(line, "INVENTORY", hint.Quote(file), 1))
			}
			return file, nil
		}
		if dir == filepath.Dir(dir) {
			return "", hint.Add(usagef("there is no %s here or in a folder above", inventoryName), "provision init writes one; or: %s", line)
		}
		file = filepath.Join("..", file)
	}
}

// othersMayWrite says who but the user and root could have written a file, or
// have put it or one of its folders there; "" if nobody could. In a folder with
// the sticky bit, such as /tmp, others can only put what is theirs.
func othersMayWrite(file string) string {
	paths := []string{file}
	if target, err := filepath.EvalSymlinks(file); err != nil {
		return err.Error()
	} else if target != file {
		paths = append(paths, target)
	}
	for _, path := range paths {
		for {
			info, err := os.Lstat(path)
			if err != nil {
				return err.Error()
			}
			mode := info.Mode()
			if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() {
				return path + " belongs to another user"
			}
			sticky := mode.IsDir() && mode&fs.ModeSticky != 0
			if mode&fs.ModeSymlink == 0 && !sticky && mode.Perm()&0o022 != 0 {
				return "others can write to " + path
			}
			if path == filepath.Dir(path) {
				break
			}
			path = filepath.Dir(path)
		}
	}
	return ""
}

// inProject returns the path of an inventory as it is in its git project, whose
// jobs work at the top of it.
func inProject(file string) string {
	full, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	for dir := filepath.Dir(full); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			within, _ := filepath.Rel(dir, full)
			return within
		}
		if dir == filepath.Dir(dir) {
			return filepath.Base(file)
		}
	}
}

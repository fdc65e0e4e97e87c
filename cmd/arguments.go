package cmd

import (
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"provision/inventory"
	"provision/provision/hint"
)

// typedFlags is where an app keeps the flags of its command as they were typed.
const typedFlags = "flags"

// line is the command with the flags that were typed, some more, and these arguments,
// as it can be pasted.
func line(c *cli.Context, more []string, arguments ...string) string {
	flags, _ := c.App.Metadata[typedFlags].([]string)
	words := []string{"provision", c.Command.Name}
	for _, word := range slices.Concat(flags, more, arguments) {
		words = append(words, hint.Quote(word))
	}
	return strings.Join(words, " ")
}

// before returns the arguments that stand before some that are the last.
func before(c *cli.Context, args []string) []string {
	return c.Args().Slice()[:c.NArg()-len(args)]
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// isInventory reports whether that is one by its name, not by what is in it.
func isInventory(path string) bool { return strings.HasSuffix(path, ".toml") && isFile(path) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil || !os.IsNotExist(err)
}

// notAnInventory is the error where the last arguments of a command are not the
// inventory alone. What names a part of one may be meant for a flag.
func notAnInventory(c *cli.Context, args []string) error {
	words := slices.DeleteFunc(slices.Clone(args), isFile)
	files := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !isFile(arg) })
	if len(words) == 1 && len(files) < 2 {
		file := append(files, foundInventory())[0]
		if inv, err := inventory.Load(file); err == nil {
			if err := besideDeployment(c, inv, words[0], append(before(c, args), file)); err != nil {
				return err
			}
			what, flag := "deployment", "deployment"
			if !slices.Contains(deploymentNames(inv), words[0]) {
				what, flag = "host", "host"
			}
			if !hasFlag(c.Command, flag) {
				flag = "limit"
			}
			if hasFlag(c.Command, flag) && (what == "deployment" || slices.Contains(hostNames(inv), words[0])) {
				return hint.Add(usagef("%s is a %s of %s, and no inventory", words[0], what, file),
					"%s", line(c, []string{"--" + flag, words[0]}, append(before(c, args), file)...))
			}
		}
	}
	err := usagef("%s: there is no such file", args[0])
	if len(args) > 1 {
		err = usagef("unexpected argument %q", args[1])
	}
	return hint.Add(err, "%s", c.Command.UsageText)
}

// besideDeployment is the error of a command about one deployment, where a word stands
// beside that one: another deployment, or what may be meant for --tag or --service.
func besideDeployment(c *cli.Context, inv *inventory.Inventory, word string, arguments []string) error {
	flag := "tag"
	if !hasFlag(c.Command, flag) {
		flag = "service"
	}
	file := arguments[len(arguments)-1]
	switch {
	case !hasFlag(c.Command, flag) || len(arguments) != 2 || slices.Contains(hostNames(inv), word), strings.ContainsRune(word, '/'), strings.HasSuffix(word, ".toml"):
		return nil
	case word == arguments[0]:
		return hint.Add(usagef("%s stands there twice", word), "%s", line(c, nil, arguments...))
	case slices.Contains(deploymentNames(inv), word):
		return hint.Add(usagef("%s is for one deployment", c.Command.Name), "%s; then %s", line(c, nil, arguments...), line(c, nil, word, file))
	case !slices.Contains(deploymentNames(inv), arguments[0]):
		return nil
	}
	return hint.Add(usagef("%s is neither an inventory nor a host of %s", word, file), "%s", line(c, []string{"--" + flag, word}, arguments...))
}

// foundInventory is the inventory that a command takes where none is named; "" if there
// is none.
func foundInventory() string {
	if file := os.Getenv(inventoryVariable); file != "" {
		return file
	}
	file, _ := findInventory("")
	return file
}

func hasFlag(c *cli.Command, name string) bool {
	return slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// deploymentFirst is the error where the first argument of a command, which is to be a
// deployment, is an inventory.
func deploymentFirst(c *cli.Context, file string, more []string) error {
	if isFile(file) && len(more) == 1 && !exists(more[0]) {
		return hint.Add(usagef("the deployment stands before the inventory"), "%s", line(c, nil, more[0], file))
	}
	if isInventory(file) && len(more) == 0 {
		return hint.Add(usagef("%s is an inventory; which deployment of it?", file), "%s", line(c, nil, "DEPLOYMENT", file))
	}
	return nil
}

package steps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge/forgetest"
	"provision/provision/shape"
)

// texts are what people write into files. The last ones are one word, as the worst secrets
// are.
var texts = []string{
	"STRIPE_SECRET_KEY: sk_live_51SECRETxyz", "DATABASE_URL=postgres://app:hunter2@db/prod", "hunter two", "it's \"quoted\"", "https://user:hunter2@host/x",
	"aHVudGVyMg==", "secret;", "hunter2\\", "hunter2!", "${HUNTER2}", "", " ", "hunter2\thunter2", "hünter2", "<b>hunter2</b>",
}

// CI is told of a host what has a shape, and no text has one. A step that is wanted of a
// deployment is looked at by CI, too.
func TestCISeesShapes(t *testing.T) {
	for name := range inventories {
		inv, given := inventoryOf(t, name)
		for _, d := range inv.Deployments {
			list := ForCI(inv, d, given)
			given := given
			given.Salt, given.AsUser = "", true
			for _, s := range For(inv, d.Host, []*inventory.Deployment{d}, given) {
				if !slices.ContainsFunc(list, func(c provision.CIStep) bool { return c.Name() == s.Name() }) && kindOf(s) != "ci-login" && kindOf(s) != "move" {
					t.Errorf("%s: CI does not look at %s", name, s.Name())
				}
			}
			for _, s := range list {
				p := s.LookAsCI()
				if (p.Script.Text == "") != (len(p.Facts) == 0) {
					t.Errorf("%s: %s has a script and no facts, or facts and no script", name, s.Name())
				}
				for key, one := range p.Facts {
					match := shape.Facts{key: one}.Matcher()
					for _, text := range texts {
						if key = strings.TrimSuffix(key, "*"); text != "" && match(strings.TrimSuffix(key, " ")+"="+text) || match(key+"x="+text) && text != "" {
							t.Errorf("%s: %s tells %s=%q", name, s.Name(), key, text)
						}
					}
				}
			}
		}
	}
}

// asCI looks at the sandbox as CI does, with what the gate would run.
func (s *sandbox) asCI(t *testing.T, f *forgetest.Fake, list []provision.CIStep) (provision.Plan, string, error) {
	t.Helper()
	text, err := provision.LookProgram(list, theUser)
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	plan, err := provision.CheckThrough(t.Context(), s.target(f), list, theUser, func(ctx context.Context, words string, out io.Writer) error {
		program := text
		for _, constant := range [][2]string{
			{"/etc/ssh/", s.dir + "/etc/ssh/"}, {"/etc/docker/", s.dir + "/etc/docker/"}, {"/etc/provision/", s.dir + "/etc/provision/"},
		} {
			program = strings.ReplaceAll(program, constant[0], constant[1])
		}
		nonce := strings.Fields(words)[1]
		fmt.Fprintf(out, "%s look %s\n", nonce, provision.Digest(text))
		cmd := exec.CommandContext(ctx, s.shell, "-c", program, "look", nonce)
		cmd.Env = []string{"PATH=" + s.bin + ":" + systemPath, "HOME=" + s.path("."), "USER=" + theUser, "LC_ALL=C"}
		cmd.Stdout, cmd.Stderr = io.MultiWriter(out, &told), &told
		return cmd.Run()
	})
	return plan, told.String(), err
}

// CI judges authorized_keys as an admin does, and is told none of its words.
func TestCIJudgesKeysAsAdmin(t *testing.T) {
	ours, other := keyLine(key1), keyLine(key2)
	old := strings.Replace(ours, " provision:", " old provision:", 1)
	const secret = `command="deploy --token=TOPSECRET",environment="AWS_SECRET=hunter2" `
	files := map[string]string{
		"ours": ours, "none": "", "others": other, "ours and others": ours + "\n" + other, "twice": ours + "\n" + ours,
		"bare before": key1.public + "\n" + ours, "bare after": ours + "\n" + key1.public + " me", "old": old, "ours and old": ours + "\n" + strings.Replace(other, " provision:", " old provision:", 1),
		"not restricted": strings.TrimPrefix(ours, "restrict,"), "more options": "no-pty," + ours, "double blank": strings.Replace(ours, " ssh-", "  ssh-", 1),
		"wrong print": strings.Replace(ours, key1.fingerprint, key2.fingerprint, 1), "another name": strings.ReplaceAll(ours, "frobnicator-production", "other"),
		"no mark": strings.TrimSuffix(ours, " provision:frobnicator-production"), "tabs": ours + "\n\t" + key2.public + "\tTOPSECRET hunter2\t ",
		"secret options": ours + "\n" + secret + key2.public + " hunter2 TOPSECRET", "secret options of ours": secret + key1.public, "comment": "# TOPSECRET " + key2.public + "\n\n" + ours + "\r",
		"unreadable": ours + "\nTOPSECRET hunter2\n" + `command="TOPSECRET` + "\nssh-ed25519 AAAAhunter2 x\nssh-ed25519 TOPSECRET\nssh-rsa " + strings.Fields(key2.public)[1],
		"quoted key": ours + "\n" + `command="` + key2.public + `" TOPSECRET`, "block": "# provision begin\n" + ours + "\n# provision end\n" + key2.public,
		"escaped": `command="a \" ` + strings.Fields(key2.public)[0] + ` b" ` + key2.public, "bare": key2.public, "no newline and NUL": ours + "\n\x00" + secret,
	}
	judgedAlike(t, "", files)
}

// So it does where the key has limits, some of which are over, or not those that it should have.
func TestCIJudgesLimitsAsAdmin(t *testing.T) {
	day := func(days int) string {
		return time.Now().UTC().AddDate(0, 0, days).Format("200601021504") + "Z"
	}
	files := map[string]string{"none": keyLine(key1)}
	for name, options := range map[string]string{
		"right": `,from="10.0.0.0/8,fd00::/8",expiry-time="` + day(30) + `"`, "over": `,from="10.0.0.0/8,fd00::/8",expiry-time="` + day(-1) + `"`,
		"soon": `,from="10.0.0.0/8,fd00::/8",expiry-time="` + day(3) + `"`, "later": `,from="10.0.0.0/8,fd00::/8",expiry-time="` + day(400) + `"`,
		"other networks": `,from="10.0.0.0/8",expiry-time="` + day(30) + `"`, "no networks": `,expiry-time="` + day(30) + `"`, "no end": `,from="10.0.0.0/8,fd00::/8"`,
		"in another order": `,expiry-time="` + day(30) + `",from="10.0.0.0/8,fd00::/8"`, "a name": `,from="TOPSECRET.hunter2",expiry-time="` + day(30) + `"`,
		"more": `,from="10.0.0.0/8,fd00::/8",environment="TOPSECRET=hunter2",expiry-time="` + day(30) + `"`, "an odd end": `,from="10.0.0.0/8,fd00::/8",expiry-time="20301231"`,
	} {
		files[name] = strings.Replace(keyLine(key1), `" ssh-`, `"`+options+` ssh-`, 1)
		files["old, "+name] = strings.Replace(files[name], " provision:", " old provision:", 1)
	}
	judgedAlike(t, "limits", files)
}

// judgedAlike fails the test unless CI judges each text of authorized_keys as an admin does, with
// that inventory.
func judgedAlike(t *testing.T, inventory string, files map[string]string) {
	t.Helper()
	noComment := regexp.MustCompile(`(SHA256:\S+) [^\n]*`)
	eachSandbox(t, func(t *testing.T, s *sandbox) {
		inv, given := inventoryOf(t, inventory)
		var asAdmin []provision.Step
		var asCI []provision.CIStep
		for _, step := range ForCI(inv, inv.Deployments[0], given) {
			switch kindOf(step) {
			case "ci-key", "stale-variables", "unrestricted-keys":
				asAdmin, asCI = append(asAdmin, step), append(asCI, step)
			}
		}
		if len(asCI) != 3 {
			t.Fatalf("%d steps", len(asCI))
		}
		f := newFake()
		for name, text := range files {
			s.write(t, ".ssh/authorized_keys", text, 0o600)
			for held, key := range map[string]string{"held": key1.private, "not held": key2.private} {
				f.Vars[group] = append(f.Vars[group][:0], auth("SSH_AUTH", "production", key))
				want, err1 := provision.Check(t.Context(), s.target(f), asAdmin)
				got, told, err2 := s.asCI(t, f, asCI)
				show := func(plan provision.Plan, err error) string {
					var b strings.Builder
					for _, p := range plan {
						for _, c := range p.Changes {
							fmt.Fprintln(&b, p.Step, c)
						}
						for _, n := range p.Notes {
							fmt.Fprintln(&b, p.Step, noComment.ReplaceAllString(n.Text, "$1"))
						}
					}
					return fmt.Sprint(b.String(), err)
				}
				if show(want, err1) != show(got, err2) {
					t.Errorf("%s, %s: an admin sees\n%s\nCI sees\n%s\n%s", name, held, show(want, err1), show(got, err2), told)
				}
				if said := told + fmt.Sprint(got, err2); strings.Contains(said, "TOPSECRET") || strings.Contains(said, "hunter2") || strings.Contains(said, strings.Fields(key1.public)[1]) {
					t.Errorf("%s: CI is told\n%s", name, said)
				}
			}
		}
	})
}

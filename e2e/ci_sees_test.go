package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever people write into the files of a host, nobody with a CI key reads it: not from the
// gate, and in no report of a verify.
func TestCISeesNoContent(t *testing.T) {
	w := newWorld(t, head+web1+app+withOverride)
	w.apply(t)
	d := w.deployment(t, "app")
	const canary = "hunter2"
	w.sh(t, "web1", `
cd /home/deploy-user
cat >>frobnicator/compose.override.yaml <<-END
      STRIPE_SECRET_KEY: hunter2-override
    labels:
      com.example.users: admin:hunter2-label
      org.opencontainers.image.revision: hunter2-revision
END
ssh-keygen -q -t ed25519 -N "" -C hunter2-comment -f /run/canary
{
	printf 'command="/bin/true --token=hunter2-option",environment="AWS_SECRET=hunter2-option" '
	cat /run/canary.pub
	echo 'hunter2-unreadable hunter2'
	echo '# hunter2-remark'
} >>.ssh/authorized_keys
echo 'SECRET=hunter2-env' >>frobnicator/.env
sed -i '1s/{/{"HttpHeaders":{"X-Token":"hunter2-config"},/' .docker/config.json
echo 'hunter2-retired hunter2' >.ssh/id_ed25519.retired.pub
git -c safe.directory=* -C frobnicator remote set-url origin "$(git -c safe.directory=* -C frobnicator remote get-url origin | sed 's|git@|git:hunter2-origin@|')"
git -c safe.directory=* -C frobnicator config provision.override hunter2-noted
chown -R deploy-user: frobnicator/.env .ssh frobnicator/.git/config frobnicator/compose.override.yaml .docker/config.json
usermod --comment hunter2-gecos deploy-user
`)
	said := map[string]string{}
	for _, words := range []string{"status", "verify 0123456789abcdef0123456789abcdef 2", "deploy", "status", "verify fedcba9876543210fedcba9876543210 2"} {
		out := w.ci(t, d, words)
		said[words] += out.out + out.errors
	}
	dir := t.TempDir()
	page, report, trace := filepath.Join(dir, "page.html"), filepath.Join(dir, "report.xml"), filepath.Join(dir, "trace")
	key := w.keyFile(t, d)
	for name, args := range map[string][]string{
		"text": {"--verbose"}, "JSON": {"--output", "json"}, "trace": {"--trace", trace},
	} {
		r := run(t.Context(), append([]string{"provision", "verify", w.withToken(t, ""), "--key", key, "--html", page, "--junit", report}, args...)...)
		said["verify, "+name] = r.out + r.errors
		for _, file := range []string{page, report} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said[filepath.Base(file)+", "+name] = string(text)
		}
		if r.code != 3 {
			t.Errorf("%s: the override is changed, and verify does not see it: %v", name, r)
		}
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	said["trace"] = string(text)
	for where, text := range said {
		if text == "" {
			t.Errorf("%s says nothing: it proves nothing", where)
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, canary) {
				t.Errorf("%s tells: %.300s", where, line)
			}
		}
	}
	for _, want := range []string{"override app", "unrestricted key in ~deploy-user/.ssh/authorized_keys"} {
		if !strings.Contains(said["verify, text"], want) {
			t.Errorf("verify does not see %q:\n%s", want, said["verify, text"])
		}
	}

	// An admin sees what differs.
	w.run(t, "plan").exits(t, 0).says(t, "-      STRIPE_SECRET_KEY: hunter2-override")
}

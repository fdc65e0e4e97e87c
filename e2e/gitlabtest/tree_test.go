package gitlabtest

import (
	"os/exec"
	"testing"
)

// What is listed is what git has, and what it has not is not found.
func TestTree(t *testing.T) {
	c := newCast(t, CE)
	if out, err := exec.Command("sh", "-euc", `
git init --quiet --bare --initial-branch main "$1/acme/app.git"
git init --quiet --initial-branch main "$1/work"
cd "$1/work"
mkdir deploy
echo one >deploy/compose.yaml
echo two >README.md
git add .
git -c user.name=a -c user.email=a@example.com commit --quiet --message one
git push --quiet "$1/acme/app.git" main`, "sh", c.config.Repositories).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const path = "/projects/acme%2Fapp/repository/tree"
	for _, s := range []step{
		{"reader", "GET", path, "", 200, `[{"name":"README.md","type":"blob","path":"README.md","mode":"100644"},{"name":"deploy","type":"tree","path":"deploy","mode":"040000"}]`},
		{"reader", "GET", path + "?ref=main&path=deploy", "", 200, `[{"name":"compose.yaml","type":"blob","path":"deploy/compose.yaml","mode":"100644"}]`},
		{"reader", "GET", path + "?path=nowhere", "", 404, `{"message":"404 invalid revision or path Not Found"}`},
		{"reader", "GET", path + "?ref=nowhere", "", 404, `{"message":"404 Tree Not Found"}`},
		{"reader", "GET", "/projects/acme%2Fweb/repository/tree", "", 404, `{"message":"404 Tree Not Found"}`},
		{"guest", "GET", path, "", 403, `{"message":"403 Forbidden"}`},
		{"stranger", "GET", path, "", 404, `{"message":"404 Project Not Found"}`},
	} {
		c.do(s)
	}
}

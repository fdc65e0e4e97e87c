package gitlabtest

import (
	"os/exec"
	"strings"
	"testing"
)

// What is compared is what git has: the commits of one side alone, the oldest
// first; what is unknown is not found, and not a list of nothing.
func TestCompare(t *testing.T) {
	c := newCast(t, CE)
	out, err := exec.Command("sh", "-euc", `
git init --quiet --bare --initial-branch main "$1/acme/app.git"
git init --quiet --initial-branch main "$1/work"
cd "$1/work"
git config user.name Anna
git config user.email anna@example.com
for n in one two three; do
	printf '%s\n' "$n" >>file
	git add file
	git commit --quiet --message "$n"
	git rev-parse HEAD
done
git push --quiet "$1/acme/app.git" main`, "sh", c.config.Repositories).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ids := strings.Fields(string(out))
	const path = "/projects/acme%2Fapp/repository/compare"
	for _, s := range []step{
		{"reader", "GET", path + "?from=" + ids[0] + "&to=main", "", 200, `{"compare_timeout":false,"compare_same_ref":false,"commit":{"id":"` + ids[2] + `"},
			"commits":[{"id":"` + ids[1] + `","short_id":"` + ids[1][:8] + `","title":"two","message":"two\n","parent_ids":["` + ids[0] + `"],"author_name":"Anna"},{"id":"` + ids[2] + `"}],
			"diffs":[{"new_path":"file","old_path":"file","new_file":false,"diff":"@@ -1 +1,3 @@\n one\n+two\n+three\n"}]}`},
		{"reader", "GET", path + "?from=" + ids[2] + "&to=main", "", 200, `{"compare_same_ref":true,"commit":null,"commits":[],"diffs":[]}`},
		{"reader", "GET", path + "?from=main&to=" + ids[0], "", 200, `{"commits":[]}`},
		{"reader", "GET", path + "?from=" + strings.Repeat("0", 40) + "&to=main", "", 404, `{"message":"404 Ref Not Found"}`},
		{"reader", "GET", path + "?from=" + ids[0] + "&to=gone", "", 404, `{"message":"404 Ref Not Found"}`},
		{"reader", "GET", path + "?from=" + ids[0], "", 400, `{"error":"to is missing"}`},
		{"reader", "GET", "/projects/acme%2Fweb/repository/compare?from=a&to=main", "", 404, `{"message":"404 Ref Not Found"}`},
		{"guest", "GET", path + "?from=" + ids[0] + "&to=main", "", 403, `{"message":"403 Forbidden"}`},
		{"stranger", "GET", path + "?from=" + ids[0] + "&to=main", "", 404, `{"message":"404 Project Not Found"}`},
	} {
		c.do(s)
	}
}

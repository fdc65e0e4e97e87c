package forge

import "context"

// Branches are those of projects.
type Branches interface {
	// Newest lists the newest commits of a branch, a hundred of them at most, the
	// newest first. It lists none where there is no such branch, or the token may
	// not see it.
	Newest(ctx context.Context, project, branch string) ([]Commit, error)
}

// A Commit is one of a project.
type Commit struct {
	ID      string // all of it
	Parents []string
}

// Behind counts the commits of a branch that one of them does not have, which are
// those that git log COMMIT..BRANCH would show. The commits are the newest of the
// branch, see [Branches]. It returns false where the one is not among them: it is
// older, or not of that branch.
func Behind(newest []Commit, commit string) (n int, ok bool) {
	parents := map[string][]string{}
	for _, c := range newest {
		parents[c.ID] = c.Parents
	}
	if _, ok := parents[commit]; !ok {
		return 0, false
	}
	has := map[string]bool{}
	for todo := []string{commit}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, listed := parents[id]; listed && !has[id] {
			has[id] = true
			todo = append(todo, parents[id]...)
		}
	}
	return len(parents) - len(has), true
}

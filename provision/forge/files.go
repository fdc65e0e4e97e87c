package forge

import "context"

// Files are those in the repositories of projects.
type Files interface {
	// Files lists the names in a folder of a branch, files and folders. The folder
	// "" is the root, the branch "" the default one. It lists none where there is no
	// such project, branch or folder, or the token may not see it.
	Files(ctx context.Context, project, branch, folder string) ([]string, error)
}

package output

import (
	"encoding/json"
	"errors"

	"provision/provision/hint"
	"provision/provision/visible"
)

// A Status is what runs of a deployment on a host, and what is wanted of it.
type Status struct {
	Services  []Service `json:"services,omitempty"`
	Up        *int      `json:"up,omitempty"`     // nil: nobody knows
	Wanted    *int      `json:"wanted,omitempty"` // nil: likewise
	Deploying *Deploy   `json:"deploying,omitempty"`
	Last      *Deploy   `json:"last,omitempty"`
	Branch    string    `json:"branch,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Behind    *int      `json:"behind,omitempty"` // nil: nobody knows
}

// A Service is one of a deployment. Of several containers it has the state of the
// worst.
type Service struct {
	Name     string `json:"name"`
	Up       *int   `json:"up,omitempty"`     // containers that are well
	Wanted   *int   `json:"wanted,omitempty"` // containers that Compose wants
	State    string `json:"state,omitempty"`
	Health   string `json:"health,omitempty"`
	Verdict  string `json:"verdict,omitempty"` // ok, wait, bad
	Reason   string `json:"reason,omitempty"`
	Image    string `json:"image,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Revision string `json:"revision,omitempty"`
	Since    string `json:"since,omitempty"`
	Written  int64  `json:"written,omitempty"` // bytes in its containers that are in no volume
}

// A Deploy is one that runs, Since then, or that has ended.
type Deploy struct {
	Since   string `json:"since,omitempty"`
	Time    string `json:"time,omitempty"`
	By      string `json:"by,omitempty"`
	Outcome string `json:"outcome,omitempty"` // good, same, failed, cut
	Text    string `json:"text,omitempty"`
}

// ReadStatus reads what the gate of a host prints for "status". It fails where that
// is of another version.
func ReadStatus(text string) (Line, error) {
	var l Line
	err := json.Unmarshal([]byte(text), &l)
	switch {
	case err != nil || l.Event != "deployment" || l.Version < Version:
		return Line{}, hint.Add(errors.New("the gate of the host is older than this program"), "upgrade it: provision apply")
	case l.Version > Version:
		return Line{}, hint.Add(errors.New("the gate of the host is newer than this program"), "upgrade provision here")
	}
	if l.Status == nil {
		l.Status = &Status{}
	}
	return Line{Event: l.Event, Deployment: l.Deployment, Text: l.Text, Status: l.Status.visible()}, nil
}

// visible returns the status with all that a host has said made safe to print.
func (s Status) visible() *Status {
	s.Branch, s.Commit = visible.String(s.Branch), visible.String(s.Commit)
	for _, d := range []**Deploy{&s.Deploying, &s.Last} {
		if *d != nil {
			shown := **d
			for _, text := range []*string{&shown.Since, &shown.Time, &shown.By, &shown.Outcome, &shown.Text} {
				*text = visible.String(*text)
			}
			*d = &shown
		}
	}
	services := s.Services
	s.Services = nil
	for _, service := range services {
		for _, text := range []*string{&service.Name, &service.State, &service.Health, &service.Verdict, &service.Reason,
			&service.Image, &service.Digest, &service.Revision, &service.Since} {
			*text = visible.String(*text)
		}
		s.Services = append(s.Services, service)
	}
	return &s
}

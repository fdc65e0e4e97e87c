package inventory

// A section says which keys a table of the file may have.
type section struct {
	name     string // what it is about, see [Wrong]
	entries  []entry
	either   either
	named    bool     // it has a name of somebody's choice, and that may have a dot in it
	inherits bool     // each of its keys may stand in the defaults instead
	perHost  []string // keys of a host that have no default
}

// An either says how many of a section's alternatives a table has.
type either int

const (
	independent either = iota // there are no alternatives
	exactlyOne
	atMostOne
)

// An entry is what can be told of a key before the file is read.
type entry struct {
	name  string
	about string // in sentences, for editors
	shape
	required    bool // in every table of the section, whatever stands in the defaults
	alternative bool // to others of the section
}

// names returns the keys of the section.
func (s *section) names() []string {
	names := make([]string, len(s.entries))
	for i, e := range s.entries {
		names[i] = e.name
	}
	return names
}

// alternatives returns those of the keys of which a table has one.
func (s *section) alternatives() []string {
	var names []string
	for _, e := range s.entries {
		if e.alternative {
			names = append(names, e.name)
		}
	}
	return names
}

// find returns the section of that name, in s or below it; nil if there is none.
func (s *section) find(name string) *section {
	if s.name == name {
		return s
	}
	for _, e := range s.entries {
		if e.section != nil {
			if found := e.section.find(name); found != nil {
				return found
			}
		}
	}
	return nil
}

// A sectionOf is a section whose keys fill the fields of a T.
type sectionOf[T any] struct {
	section
	keys []key[T]
}

// fields returns the section of some keys.
func fields[T any](s section, keys ...key[T]) *sectionOf[T] {
	for _, k := range keys {
		k.required = k.required && !s.inherits
		s.entries = append(s.entries, k.entry)
	}
	return &sectionOf[T]{s, keys}
}

// fill reads a table, key by key in the order of the section.
func (s *sectionOf[T]) fill(t *table, into *T) {
	for _, k := range s.keys {
		n := t.table[k.name]
		if n == nil && k.missing != nil {
			t.missing(k.name, k.missing(into))
		}
		if n == nil && k.always {
			n = &node{key: join(t.key, k.name), name: k.name, offset: t.offset, table: map[string]*node{}}
		}
		if k.place != nil {
			*k.place(into) = n
		}
		k.read(t, n, into)
	}
}

// A key is an entry with the field of a T that it fills.
type key[T any] struct {
	entry
	read    func(t *table, n *node, into *T) // n is nil where the key is absent
	always  bool                             // what is absent is read like an empty table
	missing func(*T) (hint string)           // nil: the key may be absent
	place   func(*T) **node                  // gets what is read, for problems that several keys have together
}

// bind says what a key means, what its value is, and where that goes. Of a key
// that is absent and has no default, nothing is set.
func bind[T, F any](name, about string, f form[F], set func(*T, F)) key[T] {
	read := func(t *table, n *node, into *T) {
		if n == nil && f.absent != nil {
			n = &node{value: f.absent}
		}
		if n != nil {
			set(into, f.read(t, n))
		}
	}
	return key[T]{entry: entry{name: name, about: about, shape: f.shape}, read: read}
}

// must says that the key has to be there, and what to write if it is not.
func (k key[T]) must(hint string) key[T] {
	return k.mustAs(func(*T) string { return hint })
}

// mustAs is must with a hint that depends on the keys before it.
func (k key[T]) mustAs(hint func(*T) string) key[T] {
	k.required, k.missing = true, hint
	return k
}

// mustHave says that the table has to be there; if it is not, its own keys are
// missing.
func (k key[T]) mustHave() key[T] {
	k.required = true
	return k.orEmpty()
}

// orEmpty says that an absent table is the same as an empty one.
func (k key[T]) orEmpty() key[T] {
	k.always = true
	return k
}

// or says that the key is an alternative to others, see [either].
func (k key[T]) or() key[T] {
	k.alternative = true
	return k
}

// at says where the place of the value is kept; nil where the key is absent.
func (k key[T]) at(place func(*T) **node) key[T] {
	k.place = place
	return k
}

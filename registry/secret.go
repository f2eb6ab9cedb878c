package registry

// Secret is what a registry wants to know before it lets anybody read, as USER:PASSWORD. It cannot be printed.
type Secret struct{ text string }

// NewSecret wraps a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.text }

// String implements fmt.Stringer with a text that shows nothing but whether there is one.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return "***"
}

// GoString keeps %#v from printing it.
func (s Secret) GoString() string { return "registry.Secret(" + s.String() + ")" }

// MarshalText keeps encoders from printing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

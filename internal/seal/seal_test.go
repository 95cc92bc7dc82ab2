package seal

import (
	"errors"
	"testing"
)

func TestZeroKeySealsNothing(t *testing.T) {
	if aead, err := New(Key{}); aead != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v, %v", aead, err)
	}
}

func TestWhatIsSealedOpensWithItsKeyAndPurposeAlone(t *testing.T) {
	aead, err := New(Key{1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(Key{2})
	if err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(nil, nil, []byte("secret"), []byte("purpose"))
	if text, err := aead.Open(nil, nil, sealed, []byte("purpose")); err != nil || string(text) != "secret" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := aead.Open(nil, nil, sealed, []byte("another")); err == nil {
		t.Error("it opens for another purpose")
	}
	if _, err := other.Open(nil, nil, sealed, []byte("purpose")); err == nil {
		t.Error("it opens with another key")
	}
}

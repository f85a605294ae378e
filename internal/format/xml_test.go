package format

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestXMLToTree(t *testing.T) {
	for in, want := range map[string]string{
		`<?xml version="1.0" encoding="UTF-8"?><!-- c --><m><a>1</a><b> x </b></m>`: `{"a":"1","b":" x "}`,
		`<m/>`:                            `""`,
		`<m>x&lt;&#65;<![CDATA[<&]]></m>`: `"x<A<&"`,
		"<m>\n <a>1</a>\n <b/>\n <a>2</a>\n <a><c>3</c></a>\n</m>":             `{"a":["1","2",{"c":"3"}],"b":""}`,
		`<m><b>1</b><a>1</a><a>2</a><b>2</b><a>3</a><c/></m>`:                  `{"b":["1","2"],"a":["1","2","3"],"c":""}`,
		`<m id="7" xmlns="urn:x" xmlns:p="urn:y"><p:a p:unit="C">21</p:a></m>`: `{"@id":"7","a":{"@unit":"C","#text":"21"}}`,
		`<m>one<a/>two</m>`: `{"a":"","#text":"onetwo"}`,
	} {
		v := decoded(t, xmlFormat{root: "m"}, in).Root()
		if got := asJSON(t, v); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		again(t, xmlFormat{root: "m"}, []byte(in))
	}
	in := `<m n="1"><a>-1.5e3</a><b> true </b><c>007</c><d>18446744073709551615</d><e> 8</e></m>`
	if got, want := asJSON(t, decoded(t, xmlFormat{"m", true}, in).Root()), `{"@n":1,"a":-1500,"b":true,"c":"007","d":18446744073709551615,"e":8}`; got != want {
		t.Errorf("with numbers: got %s, want %s", got, want)
	}
}

func TestXMLOfTree(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":[1,[2,3],{"b":null}],"@id":7,"#text":"x","c":{}}`: `<m id="7"><a>1</a><a><item>2</item><item>3</item></a><a><b></b></a>x<c></c></m>`,
		`[1,true,-2.5]`:       `<m><item>1</item><item>true</item><item>-2.5</item></m>`,
		`"<&>\"\t\r\n"`:       `<m>&lt;&amp;&gt;&quot;&#9;&#13;&#10;</m>`,
		`{"PM2.5":1,"é-1":2}`: `<m><PM2.5>1</PM2.5><é-1>2</é-1></m>`,
		`{"a":{"b c":1}}`:     `!field a."b c": want a name that XML allows`,
		`{"a":["\u0001"]}`:    `!field a[0]: the text has a character that XML does not allow`,
		`{"@a":[]}`:           `!field @a: want a text, as attributes and the text of an element are, not a list`,
		`{"@":1}`:             `!field @: want a name that XML allows`,
		`{"1":1}`:             `!field 1: want a name that XML allows`,
	} {
		v := decoded(t, jsonFormat{}, in).Root()
		dst, err := xmlFormat{root: "m"}.Encode([]byte("kept"), v)
		switch {
		case want[0] == '!':
			if err == nil || !strings.HasPrefix(err.Error(), want[1:]) || string(dst) != "kept" {
				t.Errorf("%s: %q, %v, want %s", in, dst, err, want[1:])
			}
		case err != nil || string(dst) != "kept"+want:
			t.Errorf("%s: %q, %v, want %s", in, dst, err, want)
		}
	}
}

func TestXMLRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                                   `XML: want a root element`,
		`<a><b></a>`:                         `field b: XML at line 1: "element <b> closed by </a>"`,
		"<a>\n<b>&nbsp;</b></a>":             `field b: XML at line 2: "invalid character entity &nbsp;"`,
		`<a>`:                                `XML at line 1: "unexpected EOF"`,
		`<a/><b/>`:                           `XML: want one root element`,
		`x<a/>`:                              `XML: want no text outside`,
		`<!DOCTYPE a [<!ENTITY x "y">]><a/>`: `XML: want no document type`,
		`<a x="1" x="2"/>`:                   `field @x: a second time`,
		`<?xml version="1.0" encoding="latin1"?><a/>`: `xml: encoding "latin1" declared but Decoder.CharsetReader is nil`,
		"<a>\xff</a>":             `XML at line 1: "invalid UTF-8"`,
		strings.Repeat("<a>", 40): `too deep`,
		"<a>" + strings.Repeat("<b/>", maxNodes) + "</a>": `field b: too many values`,
	} {
		tree := new(Tree)
		if err := (xmlFormat{root: "m"}).Decode(tree, []byte(in)); err == nil || !strings.Contains(err.Error(), want) || tree.Root().Kind() != Null {
			t.Errorf("%.50s: %v, want %s", in, err, want)
		}
	}
}

// A long name, once in the tree, is written for each element of a list: that does not make a payload without bounds.
func TestXMLOutputIsBounded(t *testing.T) {
	v := decoded(t, jsonFormat{}, `{"`+strings.Repeat("n", 1000)+`":[`+strings.Repeat("0,", 60000)+`0]}`).Root()
	if _, err := (xmlFormat{root: "m"}).Encode(nil, v); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("%v", err)
	}
}

// FuzzXML checks that what was decoded can be written, unless it has a name that only other writers use, and that this reads the same.
func FuzzXML(f *testing.F) {
	f.Add([]byte(`<m id="7"><a>1</a><b unit="C"> x </b><a>2<c/></a>&lt;</m>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, format := new(Tree), xmlFormat{root: "m"}
		if format.Decode(tree, data) != nil {
			return
		}
		for in := xml.NewDecoder(strings.NewReader(string(data))); ; {
			if _, err := in.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%q is taken: %v", data, err)
			}
		}
		if _, err := format.Encode(nil, tree.Root()); err != nil {
			if !strings.Contains(err.Error(), errXMLName.Error()) {
				t.Fatal(err)
			}
			return
		}
		again(t, format, data)
	})
}

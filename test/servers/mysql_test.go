//go:build servers && long

package servers

func init() { databases["mysql"] = MySQL }

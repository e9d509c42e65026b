// The official Go clients of Vault and OpenBao, unchanged, against a server of ours.
//
//	usage: clients vault|openbao ADDRESS    (the root token comes on standard input)
//
// Both walk the same way: log in by userpass and AppRole, write and read KV of both versions, wrap
// and unwrap, look up, renew and revoke leases.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clients vault|openbao ADDRESS")
		os.Exit(1)
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	check(err, "the root token is read")
	token := strings.TrimSpace(line)
	switch os.Args[1] {
	case "vault":
		walkVault(os.Args[2], token)
	case "openbao":
		walkOpenbao(os.Args[2], token)
	default:
		fail("unknown client %q", os.Args[1])
	}
	fmt.Println("the Go client of", os.Args[1], "is content")
}

func check(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func expect(holds bool, what string, values ...any) {
	if !holds {
		fail("not so: %s %v", what, values)
	}
}

func refused(err error, part, what string) {
	expect(err != nil && strings.Contains(err.Error(), part), what, err)
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

use super::*;
use proptest::prelude::*;

const LOOKUPS: [Lookup; 2] = [
    Lookup { name: "secret", parameters: &["path"], hint: "it only reads" },
    Lookup { name: "connection", parameters: &["name"], hint: "" },
];

fn answer(lookup: &Lookup, texts: &[&str]) -> Result<Option<Value>, String> {
    let json = match (lookup.name, texts) {
        ("secret", ["secret/data/app"]) => {
            r#"{"Data":{"data":{"user":"ann","pass":"p<&>\"w\n","port":5432,"ratio":1.50,"on":true,
                "empty":"","a-b":"dash","list":["x","y","z"],"none":null},
                "metadata":{"version":3}},"LeaseDuration":0}"#
        }
        ("secret", ["db/creds/ann"]) => r#"{"Data":{"username":"v-ann","password":"s3"}}"#,
        ("connection", ["orders"]) => r#"{"password":"opa"}"#,
        ("secret", ["missing"]) => return Ok(None),
        _ => return Err("there is no such thing".to_owned()),
    };
    Ok(Some(serde_json::from_str::<serde_json::Value>(json).unwrap().into()))
}

fn rendered(text: &str) -> Result<String, String> {
    let document = Document::parse(text, &LOOKUPS).map_err(|error| error.to_string())?;
    let text = document.render(&mut answer).map_err(|error| error.to_string())?;
    Ok(text.to_string())
}

#[track_caller]
fn gives(text: &str, expected: &str) {
    assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn refuses(text: &str, expected: &str) {
    let refusal = rendered(text).unwrap_err();
    assert!(refusal.contains(expected), "{text}: {refusal}");
}

/// Puts something in the data of a secret.
fn in_data(text: &str) -> String {
    format!("{{{{ with (secret `secret/data/app`).Data.data }}}}{text}{{{{ end }}}}")
}

#[test]
fn files_of_vault_agent_give_the_texts_that_they_give_there() {
    gives("{{ with secret \"secret/data/app\" }}{{ .Data.data.user }}{{ end }}", "ann");
    gives(
        "{{- with secret \"db/creds/ann\" -}}\nu={{ .Data.username }}\n{{- end }}\n",
        "u=v-ann\n",
    );
    gives("{{ $s := secret \"db/creds/ann\" }}{{ $s.Data.password }}", "s3");
    gives("{{ (connection \"orders\").password }}", "opa");
    gives("{{ \"orders\" | connection | toJSON }}", r#"{"password":"opa"}"#);
    // A file of variables for a shell.
    gives(
        "{{ with secret \"db/creds/ann\" }}{{ range $k, $v := .Data }}\nexport {{ $k | toUpper }}='{{ $v }}'\n{{- end }}{{ end }}",
        "\nexport PASSWORD='s3'\nexport USERNAME='v-ann'",
    );
    // A name that another secret tells.
    gives(
        "{{ with secret \"secret/data/app\" }}{{ with secret (printf \"db/creds/%s\" .Data.data.user) }}{{ .Data.username }}{{ end }}{{ end }}",
        "v-ann",
    );
    gives("{{ with secret \"secret/data/app\" }}{{ .Data.metadata.version }}{{ end }}", "3");
}

#[test]
fn blocks_choose_and_repeat() {
    for (text, expected) in [
        ("{{ if .on }}a{{ else }}b{{ end }}", "a"),
        ("{{ if .empty }}a{{ else if .list }}b{{ else }}c{{ end }}", "b"),
        ("{{ if .nope }}a{{ end }}{{ if .nope.deeper }}a{{ end }}", ""),
        ("{{ with .nope }}a{{ else with .user }}{{ . }}{{ else }}c{{ end }}", "ann"),
        ("{{ with $x := .user }}{{ $x }}{{ . }}{{ end }}", "annann"),
        ("{{ with .nope }}a{{ else }}{{ .user }}{{ end }}", "ann"),
        ("{{ range .list }}{{ . }},{{ end }}", "x,y,z,"),
        ("{{ range $i, $v := .list }}{{ $i }}={{ $v }} {{ end }}", "0=x 1=y 2=z "),
        ("{{ range $v := .list }}{{ if eq $v `y` }}{{ continue }}{{ end }}{{ $v }}{{ end }}", "xz"),
        ("{{ range .list }}{{ if eq . `y` }}{{ break }}{{ end }}{{ . }}{{ end }}", "x"),
        ("{{ range .nope }}a{{ else }}none{{ end }}", "none"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}", "2"),
        ("{{ $c := `` }}{{ range .list }}{{ $c = print $c . }}{{ end }}{{ $c }}", "xyz"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("{{ range loop 3 }}{{ . }}{{ end }}{{ range loop 5 7 }}{{ . }}{{ end }}", "01256"),
    ] {
        gives(&in_data(text), expected);
    }
}

#[test]
fn functions_give_what_they_give_in_go_and_consul_template() {
    for (text, expected) in [
        ("{{ .port }} {{ .ratio }} {{ .on }}", "5432 1.50 true"),
        ("{{ index . `a-b` }}{{ index .list 1 }}", "dashy"),
        ("{{ .pass | toJSON }}", r#""p\u003c\u0026\u003e\"w\n""#),
        ("{{ .pass | toUnescapedJSON }}", r#""p<&>\"w\n""#),
        ("{{ .list | toJSONPretty }}", "[\n  \"x\",\n  \"y\",\n  \"z\"\n]"),
        ("{{ printf `%s:%d %q %v %%` .user .port .pass .on }}", r#"ann:5432 "p<&>\"w\n" true %"#),
        ("{{ .user | base64Encode }} {{ `YW5u` | base64Decode }}", "YW5u ann"),
        ("{{ (`{\"a\":{\"b\":[1]}}` | parseJSON).a.b | toJSON }}", "[1]"),
        ("{{ .user | toUpper | replaceAll `A` `x` | toLower }}", "xnn"),
        ("{{ ` a b ` | trimSpace | toTitle }}|{{ trim `!` `!a!` }}", "A B|a"),
        ("{{ `a,b` | split `,` | join `;` }} {{ `a,b` | split `,` | len }}", "a;b 2"),
        ("{{ .list | contains `y` }}{{ `abc` | contains `z` }}{{ in .list `z` }}", "truefalsetrue"),
        (
            "{{ eq .user `bob` `ann` }}{{ ne .port 1 }}{{ lt .port 1 }}{{ ge .port 5432 }}",
            "truetruefalsetrue",
        ),
        ("{{ and .user .empty | len }}{{ or .empty .user }}{{ not .nope }}", "0anntrue"),
        ("{{ if and .nope (eq .nope.x 1) }}a{{ else }}b{{ end }}", "b"),
        ("{{ `a b&c/ü` | urlquery }}", "a+b%26c%2F%C3%BC"),
        ("{{ `a\nb` | indent 2 }}", "  a\n  b"),
        ("{{ add 1 2 }}{{ 5 | subtract 2 }}{{ divide 2 10 }}{{ modulo 2 5 }}", "3351"),
        ("{{ parseInt `42` | add 1 }}{{ if parseBool `true` }}y{{ end }}", "43y"),
        ("{{ `abc` | sha256Hex | len }}", "64"),
        ("{{ trimPrefix `a` `ab` }}{{ `ab` | trimSuffix `b` }}{{ print 1 2 `x` 3 }}", "ba1 2x3"),
    ] {
        gives(&in_data(text), expected);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_when_it_is_read() {
    for (text, expected) in [
        ("a\n{{ nope 1 }}", "line 2: unknown function nope"),
        ("{{ toUper `a` }}", "the nearest there is toUpper"),
        ("{{ base64decode `a` }}", "the nearest there is base64Decode"),
        ("{{ secrt `a` }}", "the nearest there is secret"),
        ("{{ env `HOME` }}", "function env is refused: the agent's own variables stay with it"),
        ("{{ key `a` }}", "it reads Consul"),
        (
            "{{ `a` | regexReplaceAll `b` `c` }}",
            "there are no regular expressions; take replaceAll",
        ),
        ("{{ sprig_trunc 5 `a` }}", "function sprig_trunc is refused"),
        ("{{ secret `a` `role=x` }}", "secret takes 1 argument (path), found 2; it only reads"),
        ("{{ toUpper }}", "toUpper takes 1 argument, found 0"),
        ("{{ .a }}", ".a stands for nothing outside of with and range"),
        ("{{ $x }}", "undefined variable $x"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable $x"),
        ("{{ $ }}", "$ stands for nothing here"),
        ("{{ if true }}", "line 1: the block has no end"),
        ("{{ range loop 2 }}", "range has no end"),
        ("{{ end }}", "end without"),
        ("{{ else }}", "else without"),
        ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "else after the last else"),
        ("{{ break }}", "break outside of a range"),
        ("{{ define `x` }}{{ end }}", "define is not there"),
        ("{{ `a` | `b` }}", "a pipe must lead into a function"),
        ("{{ `a` `b` }}", "only a function takes arguments"),
        ("{{ (toUpper `a` }}", "unclosed left parenthesis"),
        ("{{ toUpper `a`) }}", "unexpected sign"),
        ("{{ }}", "missing value"),
        ("{{ $a, $b := loop 2 }}", "two variables are for range only"),
        ("{{ if", "unclosed action"),
    ] {
        refuses(text, expected);
    }
    refuses(&"{{ if true }}".repeat(40), "blocks deeper than 32 levels");
    refuses(&format!("{{{{ {} }}}}", "(".repeat(40)), "parentheses deeper than 32 levels");
    refuses(&format!("{{{{ `a` {} }}}}", "| toUpper".repeat(70)), "more than 64 calls");
    refuses(&"x".repeat(TEXT_BYTES_MAX + 1), "longer than");
}

#[test]
fn what_has_no_value_is_an_error_and_shows_none() {
    for (text, expected) in [
        ("\n\n{{ .pasword }}", "line 3: .pasword has no value"),
        ("{{ .none }}", ".none has no value"),
        ("{{ $x := .nope }}{{ $x }}", "$x has no value"),
        ("{{ .list }}", ".list is a list; write it with toJSON"),
        ("{{ .user.first }}", ".first is asked of a text"),
        ("{{ .nope | toUpper }}", "toUpper is given something that has no value"),
        ("{{ .list | toUpper }}", "toUpper wants a text, found a list"),
        ("{{ eq .user 1 }}", "a text and a number cannot be compared"),
        ("{{ index .list 7 }}", "there is no item 7 in a list of 3"),
        ("{{ .pass | base64Decode }}", "no base64"),
        ("{{ .pass | parseJSON }}", "parseJSON: "),
        ("{{ .pass | parseInt }}", "no whole number"),
        ("{{ printf `%x` .pass }}", "%x is not there"),
        ("{{ printf `%2000s` .pass }}", "a width is above 1000"),
        ("{{ printf `%99999999999999999999d` 1 }}", "a width is above 1000"),
        ("{{ printf `%5` 1 }}", "the format ends in a %"),
        ("{{ printf `%d` .pass }}", "%d is given a text"),
        ("{{ printf `%s` }}", "no value for %s"),
        ("{{ divide 0 1 }}", "divide: the result is no number"),
        ("{{ range .user }}{{ end }}", "range goes over lists, maps and numbers"),
        ("{{ secret `elsewhere` }}", "there is no such thing"),
        ("{{ secret 1 }}", "path of secret must be a text"),
    ] {
        let refusal = rendered(&in_data(text)).unwrap_err();
        assert!(refusal.contains(expected), "{text}: {refusal}");
        assert!(!refusal.contains("p<&>"), "{refusal}");
    }
}

#[test]
fn a_value_that_is_not_known_yet_lets_the_rest_ask() {
    let text = "{{ with secret `missing` }}{{ .Data.x }}{{ end }}{{ (secret `db/creds/ann`).Data.username }}";
    let mut asked = Vec::new();
    let document = Document::parse(text, &LOOKUPS).unwrap();
    let got = document.render(&mut |lookup, texts| {
        asked.push(texts.join(" "));
        answer(lookup, texts)
    });
    assert_eq!(got.unwrap().as_str(), "v-ann");
    assert_eq!(asked, ["missing", "db/creds/ann"]);
}

#[test]
fn work_and_output_are_bounded() {
    let doubled = "{{ $x := `0123456789abcdef` }}".to_owned()
        + &"{{ $x = print $x $x }}".repeat(30)
        + "{{ len $x }}";
    refuses(&doubled, "longer than 4194304 bytes");
    let nested = "{{ range loop 9999 }}".repeat(3) + "x" + &"{{ end }}".repeat(3);
    refuses(&nested, "longer than 4194304 bytes");
    let idle = "{{ range loop 9999 }}".repeat(3) + &"{{ end }}".repeat(3);
    refuses(&idle, "too much work");
    refuses("{{ range 1000000000 }}{{ end }}", "too much work");
    refuses("{{ range loop 1000000000 }}{{ end }}", "loop gives at most 10000 numbers");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        if let Ok(document) = Document::parse(&text, &LOOKUPS) {
            document.render(&mut answer).ok();
        }
    }

    #[test]
    fn any_words_are_read_or_refused_and_yield_something_bounded(
        words in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", ".", ".a", ".Data",
            "$x", ":=", "=", ",", "|", "(", ")", "`t`", "\"u\"", "1", "secret", "toJSON", "printf",
            "loop", "9999", "index", "/*", "*/", "true", "nil", "break", "text", "eq", "and",
        ]), 0..60)
    ) {
        let text = words.join(" ");
        for text in [text.replace(" ", ""), text] {
            if let Ok(document) = Document::parse(&text, &LOOKUPS)
                && let Ok(output) = document.render(&mut answer)
            {
                prop_assert!(output.len() <= OUTPUT_BYTES_MAX);
            }
        }
    }

    #[test]
    fn what_is_written_as_json_is_read_again(text in "(?s).{0,80}") {
        let value = Value::text(text.as_str());
        for function in ["toJSON", "toUnescapedJSON"] {
            let source = format!("{{{{ connection `x` | {function} | parseJSON }}}}");
            let document = Document::parse(&source, &LOOKUPS).unwrap();
            let output = document.render(&mut |_, _| Ok(Some(value.clone()))).unwrap();
            prop_assert_eq!(output.as_str(), text.as_str());
        }
    }
}

/// What the reference makes of the same templates and secrets.
#[test]
fn consul_template_itself_gives_the_same_texts() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    let mut answers = |_: &Lookup, texts: &[&str]| {
        let data = recorded["secrets"][texts[0]].clone();
        Ok(Some(Value::map([("Data".to_owned(), Value::from(data))])))
    };
    let mut different = Vec::new();
    let templates = recorded["templates"].as_array().unwrap();
    for template in templates {
        let (text, expected) = (template[0].as_str().unwrap(), template[1].as_str().unwrap());
        let got =
            Document::parse(text, &LOOKUPS).and_then(|document| document.render(&mut answers));
        match got {
            Ok(got) if got.as_str() == expected => {}
            got => different.push((text, expected, got.map(|text| text.to_string()))),
        }
    }
    assert!(templates.len() > 40);
    assert!(different.is_empty(), "{different:#?}");
}

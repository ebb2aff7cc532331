use super::source::DEFAULT_CHAT_TEMPLATE;
use super::*;

fn template(source: &str) -> Result<ChatTemplate> {
    let tokens = [
        ("bos_token", "<s>"),
        ("image_token", "<|image|>"),
        ("video_token", "<|video|>"),
    ];
    let tokens = tokens.map(|(name, token)| (name.to_owned(), token.to_owned()));
    ChatTemplate::new(source.to_owned(), "t.jinja".to_owned(), tokens.into())
}

fn said(text: &str) -> Vec<TemplateMessage> {
    let text = TemplatePart::Text {
        text: text.to_owned(),
    };
    vec![TemplateMessage {
        role: "user".to_owned(),
        content: TemplateContent::Parts(vec![text, TemplatePart::Image]),
    }]
}

fn render(source: &str, text: &str) -> Result<String> {
    template(source)?.render(&said(text), true)
}

#[test]
fn the_built_in_template_puts_images_first() {
    let rendered = template(DEFAULT_CHAT_TEMPLATE)
        .unwrap()
        .render(&said(" hi\n"), true)
        .unwrap();
    let (head, turn) = rendered.split_once("<|eot_id|>").unwrap();
    assert!(head.starts_with("<s><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful"));
    assert_eq!(
        turn,
        "<|start_header_id|>user<|end_header_id|>\n\n<|image|>hi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn trim_and_strip_follow_python() {
    let text = "\u{1F}\u{2003} a \u{85}";
    let filter = "{{ messages[0].content[0].text | trim }}";
    assert_eq!(render(filter, text).unwrap(), "a");
    let method = "{{ messages[0].content[0].text.strip() }}";
    assert_eq!(render(method, text).unwrap(), "a");
    // A zero width space is not white space, neither here nor there.
    assert_eq!(render(filter, "\u{200B}a").unwrap(), "\u{200B}a");
}

#[test]
fn blocks_leave_no_white_space() {
    assert_eq!(
        render("a\n  {% if true %}\nb\n  {% endif %}\nc", "").unwrap(),
        "a\nb\nc"
    );
}

#[test]
fn json_is_spaced_as_python_does() {
    assert_eq!(
        render("{{ {'a': [1, '<é>']} | tojson }}", "").unwrap(),
        r#"{"a": [1, "<é>"]}"#
    );
    assert_eq!(
        render("{{ [1] | tojson(indent=2) }}", "").unwrap(),
        "[\n  1\n]"
    );
}

#[test]
fn a_template_can_refuse() {
    for source in [
        "{{ raise_exception('roles must alternate') }}",
        "{% macro m() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ m() }}",
    ] {
        let message = render(source, "").unwrap_err().to_string();
        assert!(
            message.starts_with("the chat template of t.jinja refuses the conversation: "),
            "{message}"
        );
        assert!(message.contains("roles must alternate"), "{message}");
    }
}

#[test]
fn a_template_that_fails_does_not_refuse() {
    let message = render("{% for i in range(999999) %}{% endfor %}", "").unwrap_err();
    let message = message.to_string();
    assert!(
        message.starts_with("the chat template of t.jinja fails: "),
        "{message}"
    );
    assert!(message.contains("range"), "{message}");
}

#[test]
fn a_template_that_is_not_jinja_does_not_compile() {
    let message = template("{% for %}").err().unwrap().to_string();
    assert!(
        message.starts_with("the chat template of t.jinja does not compile: "),
        "{message}"
    );
}

#[test]
fn a_loop_without_end_runs_out_of_steps() {
    let source = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}{% endfor %}{% endfor %}";
    let message = render(source, "").unwrap_err().to_string();
    assert_eq!(
        message,
        "the chat template of t.jinja needs more than 10000000 steps; it loops, or the \
         conversation is too long"
    );
}

#[test]
fn output_without_end_is_cut_off() {
    let source = "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}";
    let message = render(source, "").unwrap_err().to_string();
    assert!(
        message.starts_with("the chat template of t.jinja writes more than "),
        "{message}"
    );
}

#[test]
fn recursion_without_end_is_refused() {
    let source = "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}";
    let message = render(source, "").unwrap_err().to_string();
    assert!(message.contains("t.jinja fails: "), "{message}");
}

#[test]
fn values_that_hold_themselves_or_nest_deep_are_not_written() {
    for source in [
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ [ns] | tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(25000) %}{% set ns.x = [ns.x] %}\
         {% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}\
         {% endfor %}{{ ns.x }}",
        "{{ '{:>3000000000}'.format('a') | length }}",
    ] {
        let error = render(source, "a").unwrap_err();
        assert!(
            matches!(error, Error::TemplateRender { .. }),
            "{source}: {error}"
        );
    }
    assert_eq!(render("{{ '{:>3}'.format('a') }} a", "a").unwrap(), "  a a");
}

#[test]
fn the_longest_templates_are_compiled_on_a_small_stack() {
    let fill = |part: &str| part.repeat(source::MAX_TEMPLATE_SOURCE_BYTES / part.len() - 9);
    for source in [
        format!("{{{{ 1{} }}}}", fill("+1")),
        format!("{{{{ {}1 }}}}", fill("not ")),
        format!("{{{{ 1{} }}}}", fill("|int")),
        format!("{{% if 0 %}}{}{{% endif %}}", fill("{% elif 0 %}")),
        format!(
            "{{{{ {}1{} }}}}",
            fill("(").split_at(8000).0,
            ")".repeat(8000)
        ),
    ] {
        // Whatever comes out, it comes back.
        let _ = template(&source).and_then(|template| template.render(&said("a"), true));
    }
}

#[test]
fn a_template_that_drops_every_text_is_refused() {
    let error = render("nothing", "Hello").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template of t.jinja drops every text of the conversation; it is damaged, or made \
         for another model"
    );
    assert_eq!(render("nothing", " \n").unwrap(), "nothing");
}

#[test]
fn tools_are_none_as_in_the_reference() {
    let source = "{% if tools is not none %}tools{% endif %}{{ messages[0].content[0].text }}";
    assert_eq!(render(source, "a").unwrap(), "a");
}

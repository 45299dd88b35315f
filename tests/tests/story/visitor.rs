//! Who visits the blog: asks as a browser does, and takes no error page for the blog. Those of WordPress have a title and a 200
//! now and then, too; so each look names what only the finished blog has.

use dockerforge_tests::wait;
use reqwest::{Client, redirect::Policy};
use std::net::SocketAddr;

/// The blog's name, which it is asked by at an address of this machine.
pub const DOMAIN: &str = "blog.example.org";
/// The first post, as its page shows it.
pub const POST_TITLE: &str = "The first post of the story";
pub const POST: &str = "It came with the configuration and stands in the database.";
pub const COMMENT: &str = "I was here before the restarts";

pub struct Visitor {
    client: Client,
    at: SocketAddr,
}

#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub text: String,
    headers: reqwest::header::HeaderMap,
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Visitor {
    /// At a port, if somebody answers there.
    pub async fn at(at: SocketAddr) -> Result<Self, String> {
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        let visitor = Self { client, at };
        let answer = visitor.client.get(visitor.url("/")).send().await;
        answer.map(|_| visitor).map_err(|error| format!("{error:?}"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    async fn read(request: reqwest::RequestBuilder) -> Page {
        let answer = request.header("Host", DOMAIN).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    /// A page, whatever it says.
    pub async fn page(&self, path: &str) -> Page {
        Self::read(self.client.get(self.url(path))).await
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.client.post(self.url(path)).body(body.join("&"));
        Self::read(request.header("Content-Type", "application/x-www-form-urlencoded")).await
    }

    /// The finished blog: its front page with title, language, theme and first post, the post's own page, and no page where
    /// none is. A database that was just restarted may take its time.
    pub async fn sees_the_blog(&self, title: &str) {
        let page = wait::until(60, "the front page is there", async || {
            let page = self.page("/").await;
            wait::check(page.status == 200, &page).map(|()| page)
        })
        .await;
        let text = &page.text;
        let title = format!("<title>{}</title>", title.replace('&', "&amp;").replace('\'', "&#039;"));
        for part in [title.as_str(), "lang=\"de-DE\"", "/wp-content/themes/twentytwentyone/style.css", POST_TITLE] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        let link = format!("http://{DOMAIN}");
        let path = text
            .split("href=\"")
            .filter_map(|rest| rest.split('"').next()?.strip_prefix(&link))
            .find(|path| path.ends_with("/the-first-post-of-the-story/"))
            .unwrap_or_else(|| panic!("no link to the post in {text}"));
        let post = self.page(path).await;
        assert!(post.status == 200 && post.text.contains(POST), "{post:?}");
        assert_eq!(self.page("/no-such-page/").await.status, 404);
    }

    /// The administrator's password lets in, another one does not.
    pub async fn can_sign_in(&self, user: &str, password: &str) {
        let sign_in = async |password: &str| self.form("/wp-login.php", &[("log", user), ("pwd", password)]).await;
        let signed_in = |page: &Page| {
            let mut cookies = page.headers.get_all("set-cookie").iter();
            cookies.any(|cookie| cookie.as_bytes().starts_with(b"wordpress_logged_in_"))
        };
        let page = sign_in(password).await;
        assert!(page.status == 302 && signed_in(&page), "{page:?}");
        let refused = sign_in("another password").await;
        assert!(refused.status == 200 && !signed_in(&refused), "{refused:?}");
    }

    /// Something that is in the database because somebody wrote it there.
    pub async fn leaves_a_comment(&self) {
        let fields =
            [("comment_post_ID", "1"), ("author", "A guest"), ("email", "guest@example.org"), ("comment", COMMENT)];
        let page = self.form("/wp-comments-post.php", &fields).await;
        assert_eq!(page.status, 302, "{page:?}");
    }
}

//! The metadata service of the machine this runs on, as Azure and Google have it: a link-local
//! address and one header that says that the question is meant. `azure` and `gcp` ask by it.

use reqwest::{Client, Method, RequestBuilder, Url};

use super::CloudError;
use super::bearer::{Bearer, below};
use super::http::send;

/// Name and value.
pub(super) type Header = (&'static str, &'static str);

#[derive(Clone, Debug)]
pub(super) struct Imds {
    client: Client,
    endpoint: Url,
    header: Header,
}

impl Imds {
    pub(super) fn new(client: Client, endpoint: Url, header: Header) -> Self {
        Self {
            client,
            endpoint,
            header,
        }
    }

    /// Where the cloud has it.
    pub(super) fn here(client: Client, endpoint: &str, header: Header) -> Result<Self, CloudError> {
        let endpoint = Url::parse(endpoint);
        let endpoint = endpoint.map_err(|e| CloudError::answer("metadata", &e.to_string()))?;
        Ok(Self::new(client, endpoint, header))
    }

    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, CloudError> {
        let (name, value) = self.header;
        let request = self.client.request(method, below(&self.endpoint, path)?);
        Ok(request.header(name, value))
    }

    pub(super) async fn get(&self, path: &str) -> Result<String, CloudError> {
        send(path, self.request(Method::GET, path)?).await
    }

    /// Tokens of the identity the machine has.
    pub(super) fn bearer(&self, path: &str) -> Result<Bearer, CloudError> {
        let url = below(&self.endpoint, path)?;
        Ok(Bearer::new(self.client.clone(), url, self.header))
    }
}

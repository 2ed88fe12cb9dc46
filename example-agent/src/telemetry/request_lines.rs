//! What a request's span keeps for its lines: whether they are written, and the fields that stand on each of them, made
//! into text once a request. As fields of the span they would be read by each layer, and be made into text for each line.
use std::cell::RefCell;

use serde::Serialize;
use tracing::{Level, Metadata, Span};
use tracing_subscriber::{
    Registry,
    registry::{LookupSpan, SpanRef},
};

use super::{is_ours, log_policy::TierLevels};
use crate::tenants::Tenant;

thread_local! {
    /// Of the line that this thread is about to write.
    static OF_THIS_LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Fields and fate of a request's lines.
#[derive(Debug)]
pub struct RequestLines {
    sampled: bool,
    tier_levels: TierLevels,
    tier_level: Option<Level>,
    /// Text such as `,"endpoint":"/v1/query"`; the tenant's last.
    fields: Vec<u8>,
    tenant_from: usize,
}

impl RequestLines {
    /// Of a request: whether its lines below WARN are written, the levels that tenants of some tiers have, and the fields
    /// that stay as they are.
    pub fn new(sampled: bool, tier_levels: TierLevels, fields: &[(&str, &str)]) -> Self {
        let mut text = Vec::with_capacity(320);
        for (name, value) in fields {
            write_field(&mut text, name, value);
        }
        let tenant_from = text.len();
        Self { sampled, tier_levels, tier_level: None, fields: text, tenant_from }
    }

    /// The same, of this tenant's request.
    #[must_use]
    pub fn of_tenant(mut self, tenant: &Tenant) -> Self {
        self.set_tenant(tenant);
        self
    }

    fn set_tenant(&mut self, tenant: &Tenant) {
        self.tier_level = tenant.tier.and_then(|tier| self.tier_levels.of(tier));
        self.fields.truncate(self.tenant_from);
        write_field(&mut self.fields, "tenant_id", &*tenant.id);
        write_field(&mut self.fields, "tenant_tier", tenant.tier_name());
    }

    /// Puts it on the request's span.
    pub fn attach(self, span: &Span) {
        on_span(span, |span| span.extensions_mut().replace(self));
    }

    /// Says whose the request is that has this span.
    pub fn identify(span: &Span, tenant: &Tenant) {
        on_span(span, |span| {
            if let Some(lines) = span.extensions_mut().get_mut::<Self>() {
                lines.set_tenant(tenant);
            }
        });
    }

    /// Whether a line is written, which its level alone would have written or not.
    pub(super) fn admit(&self, meta: &Metadata<'_>, by_level: bool) -> bool {
        let by_tier = is_ours(meta) && self.tier_level.is_some_and(|level| *meta.level() <= level);
        (by_level || by_tier) && (self.sampled || *meta.level() <= Level::WARN)
    }
}

fn on_span<T>(span: &Span, change: impl FnOnce(&SpanRef<'_, Registry>) -> T) {
    span.with_subscriber(|(id, dispatch)| {
        // Another subscriber writes no lines of ours.
        Some(change(&dispatch.downcast_ref::<Registry>()?.span(id)?))
    });
}

fn write_field(text: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    for part in [",\"", name, "\":"] {
        text.extend_from_slice(part.as_bytes());
    }
    // Into memory, and of strings: it cannot fail.
    let _ = serde_json::to_writer(text, value);
}

/// Keeps the fields, or none, for the line that this thread writes next.
pub(super) fn prepare(lines: Option<&RequestLines>) {
    OF_THIS_LINE.with_borrow_mut(|text| {
        text.clear();
        text.extend_from_slice(lines.map_or(&[], |lines| &lines.fields));
    });
}

/// The formatter's line in pieces: up to the closing brace, the request's fields, and the rest.
pub(super) fn with_request_fields<T>(line: &[u8], write: impl FnOnce(&[u8], &[u8], &[u8]) -> T) -> T {
    let brace = line.len() - if line.ends_with(b"}\n") { b"}\n".len() } else { 0 };
    OF_THIS_LINE.with_borrow(|fields| write(&line[..brace], fields, &line[brace..]))
}

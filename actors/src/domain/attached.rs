//! A value that travels with the catalog and that the actors do not look into.

use std::{any::Any, fmt, sync::Arc};

/// Something of the gateway's that a channel's settings carry: the provider's row.
///
/// It is compared by value, so that settings which say the same stay equal.
#[derive(Clone)]
pub struct Attached(Arc<dyn Attachment>);

trait Attachment: Any + fmt::Debug + Send + Sync {
    fn equals(&self, other: &dyn Attachment) -> bool;
}

impl<T: Any + fmt::Debug + PartialEq + Send + Sync> Attachment for T {
    fn equals(&self, other: &dyn Attachment) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }
}

impl Attached {
    /// Attaches a value.
    pub fn new<T: Any + fmt::Debug + PartialEq + Send + Sync>(value: Arc<T>) -> Self {
        Self(value)
    }

    /// The value, where it is of this type.
    pub fn downcast<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(&self.0) as _;
        any.downcast().ok()
    }
}

impl Default for Attached {
    fn default() -> Self {
        Self(Arc::new(()))
    }
}

impl PartialEq for Attached {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl Eq for Attached {}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_is_compared_by_value_and_given_back() {
        let one = Attached::new(Arc::new("a".to_owned()));
        assert_eq!(one, Attached::new(Arc::new("a".to_owned())));
        assert_ne!(one, Attached::new(Arc::new("b".to_owned())));
        assert_ne!(one, Attached::new(Arc::new(1)));
        assert_eq!(one.downcast::<String>().as_deref(), Some(&"a".to_owned()));
        assert_eq!(one.downcast::<u32>(), None);
    }
}

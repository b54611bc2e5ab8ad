"""Visual tokens to other, mostly fewer, visual tokens: six primitives and what joins them."""

package limit

// The heaps of [Pending], for container/heap. Each element stores its index, so
// that it can be removed from the middle.

// An expiryHeap has the request that expires first at the top.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }
func (h *expiryHeap) Push(x any)        { e := x.(*entry); e.index = len(*h); *h = append(*h, e) }
func (h *expiryHeap) Pop() any          { return pop((*[]*entry)(h)) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// A networkHeap has the network with the most requests at the top.
type networkHeap []*network

func (h networkHeap) Len() int           { return len(h) }
func (h networkHeap) Less(i, j int) bool { return h[i].count > h[j].count }
func (h *networkHeap) Push(x any)        { p := x.(*network); p.index = len(*h); *h = append(*h, p) }
func (h *networkHeap) Pop() any          { return pop((*[]*network)(h)) }

func (h networkHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// pop removes the last element, and clears its slot so that it can be collected.
func pop[T any](list *[]*T) *T {
	n := len(*list) - 1
	last := (*list)[n]
	(*list)[n] = nil
	*list = (*list)[:n]
	return last
}

package udp

import "container/heap"

// timers is a heap of the sessions that have something to do, the next one first.
type timers []*session

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}

// Push is for container/heap.
func (t *timers) Push(x any) {
	sess := x.(*session)
	sess.heapIndex = len(*t)
	*t = append(*t, sess)
}

// Pop is for container/heap.
func (t *timers) Pop() any {
	last := len(*t) - 1
	sess := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	sess.heapIndex = -1
	return sess
}

func (t *timers) set(sess *session) {
	due := sess.machine.Next()
	if due.Equal(sess.due) && sess.heapIndex >= 0 {
		return
	}
	sess.due = due
	switch {
	case due.IsZero():
		t.remove(sess)
	case sess.heapIndex < 0:
		heap.Push(t, sess)
	default:
		heap.Fix(t, sess.heapIndex)
	}
}

func (t *timers) remove(sess *session) {
	if sess.heapIndex >= 0 {
		heap.Remove(t, sess.heapIndex)
	}
}

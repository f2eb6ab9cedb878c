package zookeeper

import (
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

package redrivekafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// defaultMaxMessage is max.message.bytes of a cluster that sets none.
	defaultMaxMessage = 1048588
	// topicLife is how long what is known of a topic is believed.
	topicLife = time.Minute
)

// topicInfo is what is known of a topic.
type topicInfo struct {
	name       string
	id         string
	rawID      [16]byte
	partitions int32
	replicas   int
	// limit is max.message.bytes.
	limit  int
	config map[string]string
	asOf   time.Time
}

// identity tells a topic from one of the same name that was made after it was
// deleted.
func (i topicInfo) identity() string {
	if i.id == "" {
		return i.name
	}
	return i.name + "." + i.id
}

// topicCache remembers topics. It is safe for concurrent use.
type topicCache struct {
	client *kgo.Client
	admin  *kadm.Client

	mu    sync.Mutex
	known map[string]topicInfo
}

// find describes a topic, ErrUnroutable if there is none.
func (c *topicCache) find(ctx context.Context, topic string) (topicInfo, error) {
	c.mu.Lock()
	info, ok := c.known[topic]
	c.mu.Unlock()
	if ok && time.Since(info.asOf) < topicLife {
		return info, nil
	}
	found, err := c.load(ctx, topic)
	if err != nil {
		return topicInfo{}, err
	}
	info, ok = found[topic]
	if !ok {
		return topicInfo{}, fmt.Errorf("topic %s does not exist: %w", topic, broker.ErrUnroutable)
	}
	return info, nil
}

// load reads topics from the cluster. Those that do not exist are missing from the
// result.
func (c *topicCache) load(ctx context.Context, names ...string) (map[string]topicInfo, error) {
	asOf := time.Now()
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(name)
		request.Topics = append(request.Topics, t)
	}
	// The client's own list may be some time old.
	response, err := request.RequestWith(ctx, c.client)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	found := map[string]topicInfo{}
	var exist []string
	for _, t := range response.Topics {
		if t.Topic == nil {
			continue
		}
		name, err := *t.Topic, kerr.ErrorForCode(t.ErrorCode)
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			continue
		case err != nil:
			return nil, fmt.Errorf("topic %s: %w", name, err)
		}
		info := topicInfo{name: name, partitions: int32(len(t.Partitions)), limit: defaultMaxMessage, asOf: asOf}
		if t.TopicID != ([16]byte{}) {
			info.rawID = t.TopicID
			info.id = base64.RawURLEncoding.EncodeToString(t.TopicID[:])
		}
		for _, p := range t.Partitions {
			info.replicas = max(info.replicas, len(p.Replicas))
		}
		found[name] = info
		exist = append(exist, name)
	}
	if len(exist) == 0 {
		return found, nil
	}
	if err := c.configure(ctx, found, exist); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]topicInfo{}
	}
	maps.Copy(c.known, found)
	return found, nil
}

// configure reads the settings of topics.
func (c *topicCache) configure(ctx context.Context, found map[string]topicInfo, names []string) error {
	configs, err := c.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("configuration of topics: %w", err)
	}
	for _, rc := range configs {
		info, ok := found[rc.Name]
		if !ok {
			continue
		}
		if rc.Err != nil {
			return fmt.Errorf("configuration of topic %s: %w", rc.Name, rc.Err)
		}
		info.config = map[string]string{}
		for _, entry := range rc.Configs {
			info.config[entry.Key] = entry.MaybeValue()
		}
		if n, err := strconv.Atoi(info.config["max.message.bytes"]); err == nil {
			info.limit = n
		}
		found[rc.Name] = info
	}
	return nil
}

// forget drops what is known of a topic.
func (c *topicCache) forget(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, topic)
}

// batchLimit is the largest batch for a topic, as far as it is known.
func (c *topicCache) batchLimit(topic string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := defaultMaxMessage
	if info, ok := c.known[topic]; ok {
		limit = info.limit
	}
	return int32(min(max(limit, 512), 1<<30))
}

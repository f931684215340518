#pragma once

#include <memory>

#include <librdkafka/rdkafka.h>

/// Owners of librdkafka's objects.
namespace weir::kafka::internal {

struct Destroy {
  void operator()(rd_kafka_t* client) const {
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  }
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_NewTopic_t* topic) const { rd_kafka_NewTopic_destroy(topic); }
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
  void operator()(const rd_kafka_metadata_t* metadata) const {
    rd_kafka_metadata_destroy(metadata);
  }
};

using ClientHandle = std::unique_ptr<rd_kafka_t, Destroy>;
using ConfHandle = std::unique_ptr<rd_kafka_conf_t, Destroy>;
using TopicHandle = std::unique_ptr<rd_kafka_topic_t, Destroy>;
using QueueHandle = std::unique_ptr<rd_kafka_queue_t, Destroy>;
using MessageHandle = std::unique_ptr<rd_kafka_message_t, Destroy>;
using EventHandle = std::unique_ptr<rd_kafka_event_t, Destroy>;
using NewTopicHandle = std::unique_ptr<rd_kafka_NewTopic_t, Destroy>;
using PartitionListHandle = std::unique_ptr<rd_kafka_topic_partition_list_t, Destroy>;
using MetadataHandle = std::unique_ptr<const rd_kafka_metadata_t, Destroy>;

}  // namespace weir::kafka::internal
